//! The files of docs/deploy, which are there to be copied: they are well formed, their numbers fit each
//! other, and what they name is there.

#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use adjourn_processes::Process;
use libc::SIGTERM;
use saphyr::{LoadableYamlNode, Yaml};

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs::read_to_string(root.join(name)).expect("it is there")
}

fn yaml(text: &str) -> Vec<Yaml<'_>> {
    Yaml::load_from_str(text).expect("it is YAML")
}

fn text<'a>(yaml: &'a Yaml<'_>) -> &'a str {
    yaml.as_str().expect("it is text")
}

fn seconds(yaml: &Yaml<'_>) -> Duration {
    let seconds = yaml.as_integer().expect("it is a number");
    Duration::from_secs(seconds.try_into().expect("it is not negative"))
}

/// The same as a program reads it.
fn number(text: &str) -> Duration {
    Duration::from_secs(text.parse().expect("it is a number"))
}

/// What a program that is given this has for its stop.
fn timeout(vars: &[(&str, &str)]) -> Duration {
    let probe = Path::new(env!("CARGO_BIN_EXE_probe"));
    let probe = Process::start("--default-signal=TERM", probe, &["tokio-n", "from-env"], vars);
    let ended = probe.until("polled").send(SIGTERM).end();
    ended.code(0).timeout()
}

/// Whether the health endpoint knows each of these paths.
fn are_answered(paths: &[&str]) {
    let program = Path::new(env!("CARGO_BIN_EXE_health"));
    let program = Process::start("--default-signal=TERM", program, &["tokio-n", "0"], &[]);
    let program = program.until_starting("port ");
    let port = program.last()["port ".len()..].parse::<u16>().expect("it is a number");
    let program = program.until("starts").enter("go").until("ready");
    for path in paths {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        write!(client, "GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").expect("it reads");
        let mut got = String::new();
        client.read_to_string(&mut got).expect("it answers");
        assert!(got.starts_with("HTTP/1.1 200 "), "{path}: {got}");
    }
    drop(program);
}

#[test]
fn kubernetes_kills_after_the_programs_deadline() {
    let file = read("deploy/kubernetes.yaml");
    let documents = yaml(&file);
    let pod = &documents[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let grace_period = seconds(&pod["terminationGracePeriodSeconds"]);
    let pre_stop = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let env = container["env"].as_sequence().expect("a list");
    // Kubernetes takes nothing but text there.
    let env: Vec<_> = env.iter().map(|var| (text(&var["name"]), text(&var["value"]))).collect();
    let var = |name| env.iter().find(|(own, _)| *own == name).expect("it is set").1;
    assert_eq!(number(var("ADJOURN_GRACE_PERIOD")), grace_period);
    assert_eq!(number(var("ADJOURN_PRE_STOP")), pre_stop);
    let margin = number(var("ADJOURN_MARGIN"));
    let timeout = timeout(&env);
    assert_eq!(pre_stop + timeout + margin, grace_period);
    // The sum stands in a comment too.
    let [pre_stop, timeout, margin, whole] =
        [pre_stop, timeout, margin, grace_period].map(|span| span.as_secs());
    let sum = format!(
        "{pre_stop} s (preStop) + {timeout} s (the program's timeout) + {margin} s (margin) = {whole} s"
    );
    assert!(file.contains(&sum), "no {sum:?}");
}

#[test]
fn kubernetes_asks_what_is_answered() {
    let file = read("deploy/kubernetes.yaml");
    let documents = yaml(&file);
    let template = &documents[0]["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let ports = container["ports"].as_sequence().expect("a list");
    let port = |name: &str| {
        let port = ports.iter().find(|port| text(&port["name"]) == name).expect("it is named");
        port["containerPort"].as_integer().expect("a number")
    };
    let probe = |name: &str| {
        let asks = &container[name]["httpGet"];
        assert_eq!(port(text(&asks["port"])), 8081, "where docs/deploy.md answers");
        text(&asks["path"])
    };
    let paths = ["startupProbe", "readinessProbe", "livenessProbe"].map(probe);
    assert_eq!(paths, ["/readyz", "/readyz", "/livez"]);
    are_answered(&paths);
    // A program that is slow for once is not killed: /livez itself waits for 10 s.
    let liveness = &container["livenessProbe"];
    let failures = liveness["failureThreshold"].as_integer().expect("a number");
    let patience = seconds(&liveness["periodSeconds"]) * u32::try_from(failures).unwrap();
    assert!(patience >= Duration::from_secs(20), "{patience:?}");
    let service = &documents[1]["spec"];
    assert_eq!(port(text(&service["ports"][0]["targetPort"])), 8080);
    assert_eq!(service["selector"], template["metadata"]["labels"]);
    assert_eq!(documents[0]["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
}

#[test]
fn compose_kills_after_the_programs_deadline() {
    let file = read("deploy/compose.yaml");
    let documents = yaml(&file);
    let service = &documents[0]["services"]["server"];
    let grace_period = text(&service["stop_grace_period"]);
    let grace_period = number(grace_period.strip_suffix('s').expect("seconds"));
    let var = text(&service["environment"]["ADJOURN_GRACE_PERIOD"]);
    assert_eq!(number(var), grace_period);
    let timeout = timeout(&[("ADJOURN_GRACE_PERIOD", var)]);
    assert!(timeout < grace_period, "{timeout:?}");
    let said = format!("the program's timeout is {} s", timeout.as_secs());
    assert!(file.contains(&said), "no {said:?}");
    // As a list it is run as it is, without a shell.
    let test = service["healthcheck"]["test"].as_sequence().expect("a list");
    assert_eq!(text(&test[0]), "CMD");
    let url = text(test.last().expect("it is not empty"));
    are_answered(&[url.strip_prefix("http://127.0.0.1:8081").expect("the port of docs/deploy.md")]);
    assert!(read("deploy/Dockerfile").contains(text(&test[1])), "what asks is in the image");
}

/// The instructions of a Dockerfile, without comments, lines put together.
fn instructions(file: &str) -> Vec<(String, String)> {
    let lines = file.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let pairs =
        lines.map(|line| line.trim().split_once(' ').expect("an instruction and its words"));
    pairs.map(|(name, words)| (name.to_owned(), words.trim().to_owned())).collect()
}

#[test]
fn the_image_makes_the_program_process_1() {
    let file = read("deploy/Dockerfile");
    let all = instructions(&file);
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT"];
    assert!(all.iter().all(|(name, _)| known.contains(&name.as_str())), "{all:?}");
    let the = |name: &str| {
        let mut of = all.iter().filter(|(own, _)| own == name);
        &of.next_back().expect("it is there").1
    };
    // In brackets: no shell comes before the program.
    let entry: Vec<String> = serde_json::from_str(the("ENTRYPOINT")).expect("a list");
    let copied = the("COPY").rsplit_once(' ').expect("from and to").1;
    assert_eq!(entry, [copied]);
    assert_eq!(the("STOPSIGNAL"), "SIGTERM");
    assert_eq!(the("EXPOSE"), "8080 8081");
}

/// The settings of a unit file, of all its sections.
fn settings(file: &str) -> Vec<(&str, &str)> {
    let lines = file.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn systemd_kills_after_the_programs_deadline() {
    let file = read("deploy/server.service");
    let all = settings(&file);
    let the = |name| all.iter().find(|(own, _)| *own == name).expect("it is set").1;
    let var = the("Environment").split_once('=').expect("a variable and its value");
    let timeout = timeout(&[var]);
    assert_eq!(timeout, number(var.1));
    // One second more is for what is printed at the end.
    let kill = number(the("TimeoutStopSec"));
    assert!(kill >= timeout + Duration::from_secs(2), "{kill:?}, {timeout:?}");
    assert_eq!(the("Type"), "notify");
    let socket = read("deploy/server.socket");
    let socket = settings(&socket);
    let name = socket.iter().find(|(own, _)| *own == "FileDescriptorName").expect("it is set").1;
    let page = read("deploy.md");
    assert!(page.contains(&format!("tcp({name:?})")), "the program asks for another");
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["server.service", "server.socket"];
    for name in names {
        let unit = read(&format!("deploy/{name}")).replace("/usr/local/bin/server", "/bin/true");
        fs::write(directory.path().join(name), unit).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .args(names)
        .current_dir(directory.path())
        .output();
    let Ok(output) = verify else {
        eprintln!("systemd-analyze is not here: not tried");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unrecognized option") {
        eprintln!("systemd-analyze is too old here: not tried");
        return;
    }
    assert!(output.status.success() && said.is_empty(), "{output:?}");
}
