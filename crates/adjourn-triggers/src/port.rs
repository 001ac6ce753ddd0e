//! A port of the loopback that takes commands from who knows a secret.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use adjourn_clients::Clients;
use adjourn_core::Inspector;
use subtle::ConstantTimeEq;

use crate::{BoxError, Look, Trigger, command, place};

/// The secret's length, written in hexadecimal.
const SECRET: usize = 64;

/// Takes commands at a port of 127.0.0.1, from who can read a file:
/// `echo "$(cat /run/app/secret) stop" | nc 127.0.0.1 7777`.
///
/// For systems without Unix sockets, and across a port that is forwarded. The commands and their limits
/// are those of `Socket`, with the secret and a space before each. A wrong secret is
/// answered `refused`.
///
/// The secret is 32 random bytes in hexadecimal. Where the file is not there it is made, with mode 0600.
///
/// Errors at the start: the port is taken; the secret's directory is not there or everybody may write
/// to it; the file can be read by others (not looked at on Windows, where the directory's permissions
/// decide), or holds no such secret.
#[derive(Debug)]
pub struct Port {
    port: u16,
    path: PathBuf,
    live: Option<Live>,
}

struct Live {
    listener: TcpListener,
    clients: Clients<TcpStream>,
    secret: String,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.listener.fmt(f) // the secret stays one
    }
}

impl Port {
    /// Listens at this port, with the secret of this file.
    pub fn new(port: u16, secret: impl Into<PathBuf>) -> Port {
        Port { port, path: secret.into(), live: None }
    }
}

impl Trigger for Port {
    fn name(&self) -> String {
        format!("port {}", self.port)
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let path = place::check(&self.path)?;
        let told = |error| format!("the secret {}: {error}", path.display());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = TcpListener::bind(address)
            .map_err(|error| format!("{address}: {error}: stop who has it, or use another port"))?;
        listener.set_nonblocking(true)?;
        // Two that start at once: else one would find the secret that the other has not yet written.
        #[cfg(unix)]
        let _alone = place::lock(&path).map_err(told)?;
        let secret = read_or_make(&path).map_err(told)?;
        let clients = command::clients(SECRET + 1 + command::LONGEST);
        self.live = Some(Live { listener, clients, secret });
        Ok(())
    }

    fn look(&mut self, program: &Inspector) -> Look {
        let Some(Live { listener, clients, secret }) = &mut self.live else { return Look::NEVER };
        let mut stop = false;
        let accept = || {
            let (peer, _) = listener.accept()?;
            peer.set_nonblocking(true)?;
            Ok(peer)
        };
        let mut obey = |line: &[u8]| match line.split_at_checked(SECRET) {
            Some((said, rest)) if bool::from(said.ct_eq(secret.as_bytes())) => {
                command::obey(rest.trim_ascii(), program, &mut stop)
            }
            _ => "refused".to_owned(),
        };
        let again = clients.look(accept, |said, words| command::line(said, words, &mut obey));
        Look { stop, again: again.unwrap_or(command::IDLE) }
    }
}

fn read_or_make(path: &Path) -> Result<String, BoxError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => {
            let mut bytes = [0; SECRET / 2];
            getrandom::fill(&mut bytes)?;
            let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(format!("{secret}\n").as_bytes())?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<String, BoxError> {
    let file = fs::File::open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata()?;
        if found.mode() & 0o077 != 0 {
            return Err("others may read it: make a new one, and `chmod 600` it".into());
        }
        if found.uid() != crate::sys::own_user() {
            return Err("it is another user's: use one of your own".into());
        }
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, 1024), &mut text)
        .map_err(|error| format!("it is no secret: {error}"))?;
    let secret = text.trim();
    if secret.len() != SECRET || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = "it is no secret of 64 hexadecimal digits: remove it, and a new one is made";
        return Err(what.into());
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn opened(path: &Path) -> (Port, SocketAddr) {
        let mut port = Port::new(0, path);
        port.open().unwrap();
        let address = port.live.as_ref().unwrap().listener.local_addr().unwrap();
        (port, address)
    }

    /// What a client gets for this line, and whether it stops the program.
    fn says(port: &mut Port, address: SocketAddr, line: &str) -> (String, bool) {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(line.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client.set_nonblocking(true).unwrap();
        let (mut got, mut stop) = (Vec::new(), false);
        loop {
            stop |= port.look(&Inspector::default()).stop;
            match client.read_to_end(&mut got) {
                Ok(_) => return (String::from_utf8(got).unwrap(), stop),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_knows_the_secret_may_command() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let (mut port, address) = opened(&path);
        let secret = fs::read_to_string(&path).unwrap().trim().to_owned();
        assert_eq!(secret.len(), SECRET);
        let refused = ("refused\n".to_owned(), false);
        for line in [
            "stop\n".to_owned(),
            format!("{} stop\n", "0".repeat(SECRET)),
            format!("{secret}\n").to_uppercase() + "stop",
            format!("{}\n", &secret[1..]),
        ] {
            assert_eq!(says(&mut port, address, &line), refused, "{line}");
        }
        let (got, stop) = says(&mut port, address, &format!("{secret}\n"));
        assert!(got.starts_with("error: no such command") && !stop, "{got}");
        let (got, stop) = says(&mut port, address, &format!("{secret} status\n"));
        assert_eq!((&*got, stop), ("not running\n", false));
        let (got, stop) = says(&mut port, address, &format!("{secret} stop\n"));
        assert_eq!((&*got, stop), ("stopping\n", true));
        assert!(!format!("{port:?}").contains(&secret));
        // The same one is used again.
        let (mut next, address) = opened(&path);
        assert!(says(&mut next, address, &format!("{secret} stop\n")).1);
    }

    #[cfg(unix)]
    #[test]
    fn many_that_start_at_once_share_a_secret() {
        const MANY: usize = 8;
        let directory = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = directory.path().join(round.to_string());
            let start = std::sync::Barrier::new(MANY);
            let open = || {
                start.wait();
                let mut port = Port::new(0, &path);
                port.open().map_err(|error| error.to_string()).unwrap();
                port.live.unwrap().secret
            };
            let secrets: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        }
    }

    #[test]
    fn a_secret_that_is_none_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let error = |path: &Path| Port::new(0, path).open().unwrap_err().to_string();
        assert!(error(&directory.path().join("none/secret")).contains("make it first"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            drop(opened(&path));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(error(&path).contains("others may read it"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for text in ["", "short", &"g".repeat(SECRET), &"a".repeat(SECRET + 1)] {
            fs::write(&path, text).unwrap();
            assert!(error(&path).contains("no secret of 64"), "{text}");
        }
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(error(&path).contains("no secret"));
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let path = directory.path().join("secret");
        let error = Port::new(port, &path).open().unwrap_err().to_string();
        assert!(error.contains("use another port"), "{error}");
        assert!(!path.exists(), "nothing is left behind");
    }
}
