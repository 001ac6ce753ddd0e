//! Notes in SQLite, over HTTP: `database FILE [ADDRESS]`. The database closes last.
//!
//! ```sh
//! cargo run -p adjourn-servers --features database --bin database -- /tmp/notes.db 127.0.0.1:7000
//! curl -d 'buy milk' localhost:7000/notes
//! curl localhost:7000/notes
//! ```
//!
//! At Ctrl-C or SIGTERM the requests that are there are answered first. Their statements run on blocking
//! threads, which the program waits for. Only then is the database closed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use adjourn::{Exit, Scope, hyper, ready, run, spawn_blocking};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use rusqlite::Connection;
use tokio::net::TcpListener;

type Answer = Result<(StatusCode, String), (StatusCode, String)>;

/// A database that is open until it is closed.
#[derive(Clone)]
struct Notes(Arc<Mutex<Option<Connection>>>);

impl Notes {
    fn open(path: &Path) -> rusqlite::Result<Notes> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", ())?;
        Ok(Notes(Arc::new(Mutex::new(Some(connection)))))
    }

    /// Runs a statement on a blocking thread.
    async fn with<T, F>(&self, work: F) -> Result<T, (StatusCode, String)>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let notes = self.clone();
        let job = spawn_blocking(move || {
            let open = notes.0.lock().unwrap_or_else(PoisonError::into_inner);
            work(open.as_ref().expect("it is closed after the last request"))
        });
        let failed = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text);
        let result = job.await.map_err(|error| failed(error.to_string()))?;
        result.map_err(|error| failed(error.to_string()))
    }

    /// Closes it. What was in the log goes into the file.
    fn close(&self) -> rusqlite::Result<()> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(connection) = open else { return Ok(()) };
        let rows: u64 = connection.query_row("SELECT count(*) FROM notes", (), |row| row.get(0))?;
        connection.close().map_err(|(_, error)| error)?;
        println!("the database is closed, with {rows} notes");
        Ok(())
    }
}

async fn add(State(notes): State<Notes>, text: String) -> Answer {
    notes.with(move |open| open.execute("INSERT INTO notes VALUES (?1)", [text])).await?;
    Ok((StatusCode::CREATED, "noted\n".to_owned()))
}

async fn count(State(notes): State<Notes>) -> Answer {
    let count = |open: &Connection| {
        open.query_row("SELECT count(*) FROM notes", (), |row| row.get::<_, u64>(0))
    };
    Ok((StatusCode::OK, format!("{}\n", notes.with(count).await?)))
}

async fn serve(path: &Path, address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let notes = Notes::open(path)?;
    let last = notes.clone();
    // Registered by whoever opens it; runs when all tasks and blocking jobs are gone.
    Scope::current().on_stopped(move || last.close());
    let app = Router::new().route("/notes", get(count).post(add)).with_state(notes);
    let listener = TcpListener::bind(address).await?;
    println!("{}{}", adjourn_servers::LISTENING, listener.local_addr()?);
    ready();
    hyper::serve(listener, app).await?;
    println!("all requests are answered");
    Ok(())
}

fn main() -> Exit {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("database FILE [ADDRESS]");
        return Exit::code(2);
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse() else {
        eprintln!("{address:?} is not an address with a port, as in 127.0.0.1:7000");
        return Exit::code(2);
    };
    run(serve(Path::new(&path), address))
}
