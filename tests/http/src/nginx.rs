//! nginx, whose restart is a reload: SIGHUP, upon which its master starts new workers and tells the old
//! ones to end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::HANGS;
use crate::restart::Restarts;

/// A master with two workers, with nginx's defaults in all that matters at a reload.
pub struct Nginx {
    address: SocketAddr,
    directory: PathBuf,
    master: Child,
    patience: Duration,
    killed: u32,
}

impl Nginx {
    /// Starts it and waits until it answers. Old workers that have not ended `patience` after a reload are
    /// killed.
    ///
    /// # Errors
    ///
    /// It cannot be run, or is not installed ([`NotFound`](io::ErrorKind::NotFound)).
    pub fn start(http2: bool, patience: Duration) -> io::Result<Nginx> {
        // It has a free port by the time that this returns; nobody else is given it so soon.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let name = format!("adjourn-nginx-{}-{}", std::process::id(), address.port());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let config = directory.join("nginx.conf");
        fs::write(&config, text(&directory.display().to_string(), address, http2))?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&config).stdin(Stdio::null());
        // Before it has read its file it complains about a log that only root may write.
        let master = match command.stderr(Stdio::null()).spawn() {
            Ok(master) => master,
            Err(error) => {
                _ = fs::remove_dir_all(&directory);
                return Err(error);
            }
        };
        let mut nginx = Nginx { address, directory, master, patience, killed: 0 };
        let end = Instant::now() + HANGS;
        while TcpStream::connect(address).is_err() {
            if nginx.master.try_wait()?.is_some() || Instant::now() > end {
                let log = fs::read_to_string(nginx.directory.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("nginx does not serve: {log}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }

    fn workers(&self) -> BTreeSet<i32> {
        let master = self.master.id();
        let path = format!("/proc/{master}/task/{master}/children");
        let children = fs::read_to_string(path).expect("the system tells of children");
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }
}

impl Restarts for Nginx {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self) {
        let old = self.workers();
        // SAFETY: a plain system call; it is this process's child and was not waited for.
        assert_eq!(unsafe { libc::kill(self.master.id() as i32, libc::SIGHUP) }, 0);
        let end = Instant::now() + self.patience;
        loop {
            let left: Vec<_> = self.workers().intersection(&old).copied().collect();
            if left.is_empty() {
                return;
            }
            if Instant::now() > end {
                self.killed += 1;
                for worker in left {
                    // SAFETY: a plain system call; it is a child of nginx's master.
                    _ = unsafe { libc::kill(worker, libc::SIGKILL) };
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        // SAFETY: a plain system call; it is this process's child and was not waited for.
        assert_eq!(unsafe { libc::kill(self.master.id() as i32, libc::SIGTERM) }, 0);
        self.master.wait().expect("it is a child");
    }

    fn killed(&self) -> u32 {
        self.killed
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.master.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Not killed: its workers would go on.
            self.stop();
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}

fn text(directory: &str, address: SocketAddr, http2: bool) -> String {
    let http2 = if http2 { " http2" } else { "" };
    // As whoever is not root it may not write where it would by default.
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {directory}/{what};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 2;\npid {directory}/pid;\nerror_log {directory}/log;\n\
         events {{}}\nhttp {{\n    access_log off;\n{paths}    server {{\n        \
         listen {address}{http2};\n        location = / {{ return 200 \"hello\"; }}\n    }}\n}}\n"
    )
}
