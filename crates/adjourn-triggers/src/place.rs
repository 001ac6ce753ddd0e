//! Where a trigger's file may lie: where nobody else can put one.

use std::path::{Path, PathBuf};

use crate::BoxError;

/// Checks the directory of a file, and returns the file's path from the root: the program may change
/// its working directory.
pub(crate) fn check(path: &Path) -> Result<PathBuf, BoxError> {
    let Some(name) = path.file_name() else {
        return Err("the path names no file: give one".into());
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let found = directory.canonicalize().map_err(|error| {
        format!("its directory {}: {error}: make it first", directory.display())
    })?;
    if !found.is_dir() {
        return Err(format!("{} is no directory", directory.display()).into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if found.metadata()?.permissions().mode() & 0o002 != 0 {
            return Err(format!(
                "everybody may write to its directory {}, so everybody could stop the program: use \
                 one that is the program's own, such as systemd's RuntimeDirectory=",
                found.display()
            )
            .into());
        }
    }
    Ok(found.join(name))
}

/// Keeps other programs that start from this file's directory until what it returns is dropped. `None`
/// where there is no such lock: a directory that cannot be read, a file system without locks.
#[cfg(unix)]
pub(crate) fn lock(path: &Path) -> Result<Option<std::fs::File>, BoxError> {
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    let Ok(directory) = std::fs::File::open(path.parent().unwrap_or(path)) else { return Ok(None) };
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match crate::sys::try_lock(&directory) {
            Ok(()) => return Ok(Some(directory)),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(
                    "another program holds a lock (flock) on its directory: stop it, or use \
                            another directory"
                        .into(),
                );
            }
            Err(_) => return Ok(None),
        }
    }
}
