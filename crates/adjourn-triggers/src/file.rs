//! A file whose presence stops the program.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use adjourn_core::Inspector;

use crate::{BoxError, Look, Trigger, place};

/// Stops the program once a file is there: `touch /run/app/stop`.
///
/// Looked for every 250 ms. The file is left where it is, so that a second start is refused until
/// somebody took it away, unless [`remove_old`](File::remove_old) says otherwise.
///
/// Errors at the start: the directory is not there, everybody may write to it, or the file is there
/// already.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    removes: bool,
}

impl File {
    /// How often it is looked for.
    const PERIOD: Duration = Duration::from_millis(250);

    /// Waits for this file.
    pub fn new(path: impl Into<PathBuf>) -> File {
        File { path: path.into(), removes: false }
    }

    /// Removes a file that an earlier run was stopped with, at the start.
    pub fn remove_old(mut self) -> File {
        self.removes = true;
        self
    }
}

impl Trigger for File {
    fn name(&self) -> String {
        format!("the file {}", self.path.display())
    }

    fn open(&mut self) -> Result<(), BoxError> {
        self.path = place::check(&self.path)?;
        match self.path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) if self.removes => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(format!("it is there already and cannot be removed: {error}").into())
                }
                _ => Ok(()),
            },
            Ok(_) => {
                Err("it is there already, which would stop the program at once: remove it, or \
                          let the program do so with `File::remove_old`"
                    .into())
            }
        }
    }

    fn look(&mut self, _: &Inspector) -> Look {
        Look { stop: self.path.symlink_metadata().is_ok(), again: File::PERIOD }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_when_the_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stop");
        let mut file = File::new(&path);
        file.open().unwrap();
        let program = Inspector::default();
        assert!(!file.look(&program).stop);
        fs::write(&path, "").unwrap();
        assert_eq!(file.look(&program), Look { stop: true, again: Duration::from_millis(250) });
    }

    #[test]
    fn an_old_file_is_an_error_unless_it_may_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stop");
        fs::write(&path, "").unwrap();
        let error = File::new(&path).open().unwrap_err().to_string();
        assert!(error.contains("`File::remove_old`"), "{error}");
        let mut file = File::new(&path).remove_old();
        file.open().unwrap();
        assert!(!path.exists() && !file.look(&Inspector::default()).stop);
        fs::create_dir(&path).unwrap();
        let error = File::new(&path).remove_old().open().unwrap_err().to_string();
        assert!(error.contains("cannot be removed"), "{error}");
    }

    #[test]
    fn its_directory_has_to_be_there_and_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let error = File::new(directory.path().join("none/stop")).open().unwrap_err().to_string();
        assert!(error.contains("make it first"), "{error}");
        assert!(File::new("/").open().is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = directory.path().join("open");
            fs::create_dir(&open).unwrap();
            fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
            let error = File::new(open.join("stop")).open().unwrap_err().to_string();
            assert!(error.contains("everybody may write"), "{error}");
        }
    }
}
