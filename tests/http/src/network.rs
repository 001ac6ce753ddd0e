//! A network of its own for what changes the system's settings: they end with it.

use std::fs;
use std::io;
use std::process::Command;
use std::thread;

/// Runs it in a thread with a network namespace of its own, in which the loopback is up and
/// `net.ipv4.tcp_migrate_req` is 1 (Linux 5.14): what is in the queue of a listener that is closed goes to
/// another one at the same port. Threads and programs started there are in that network too.
///
/// # Errors
///
/// This process may not make one, or the system has no such setting.
pub fn with_migration<T: Send>(run: impl FnOnce() -> T + Send) -> io::Result<T> {
    let inside = || {
        // SAFETY: a plain system call; only this thread leaves the network.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        if !up.success() {
            return Err(io::Error::other("`ip link set lo up` has failed"));
        }
        fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1")?;
        Ok(run())
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};

    use super::with_migration;

    fn setting() -> String {
        fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").unwrap_or_default()
    }

    #[test]
    fn the_setting_is_that_of_a_network_that_works_and_of_no_other() {
        let before = setting();
        let inside = with_migration(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            TcpStream::connect(listener.local_addr()?)?;
            Ok::<_, std::io::Error>(setting())
        });
        match inside {
            Ok(inside) => assert_eq!(inside.expect("the loopback is up").trim(), "1"),
            Err(error) => eprintln!("no network can be made here: {error}: skipped"),
        }
        assert_eq!(setting(), before);
    }
}
