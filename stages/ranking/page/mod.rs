//! The ranking page: a server for the browsers of this machine, off unless it is started.
//!
//! It listens on 127.0.0.1 alone. [`invite`] gives an address with a word in its fragment, which the browser exchanges
//! once for a cookie (HttpOnly, SameSite=Strict); the store keeps only hashes of both. Every request must name this
//! host and port, every write its own origin and JSON; no header opens anything to other origins, and the page's policy
//! allows nothing but its own files, which lie in this program. No path, command or address is taken from a request,
//! and no request can stop or delete anything. The page's thread, event loop and connection to the store are its own.

mod assets;
mod guard;
mod routes;
mod site;

pub use routes::{Does, ROUTES, Route};

use super::store::Store;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest body of a request, in bytes: nine comments, a better answer and room.
pub(super) const BODY: usize = 1 << 20;

/// Tries for the lock, 20 ms apart: whoever looks for the page holds it for a moment.
const PATIENCE: u32 = 10;

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// How the page is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageOptions {
    /// The port; absent: the one that this store had last, or a free one.
    pub port: Option<u16>,
    /// The rater that the first address is for; absent: whoever opens it gives a name.
    pub rater: Option<String>,
}

/// A page that is served; it ends when this is dropped.
#[derive(Debug)]
pub struct PageHandle {
    port: u16,
    url: String,
    server: actix_web::dev::ServerHandle,
    thread: Option<JoinHandle<()>>,
    /// Held as long as the page is served: others find the page by it.
    _lock: File,
}

/// The ranking page of a store.
#[derive(Clone, Copy, Debug)]
pub struct Page;

impl Page {
    /// Serves the page of a store on a thread of its own.
    ///
    /// # Errors
    /// A refusal where another process serves it, or the port is taken; a fault of the disk.
    pub fn start(store: &mut Store, options: &PageOptions) -> Result<PageHandle, Fault> {
        let lock = take_lock(store.path(), PATIENCE)?;
        let listener = listen(store, options.port)?;
        let port = listener.local_addr().map_err(|error| cannot("find the port of", &error))?.port();
        store.set("port", &port.to_string())?;
        if store.get("id")?.is_none() {
            store.set("id", &word()?)?;
        }
        let url = invite(store, port, options.rater.as_deref())?;
        let (give, take) = sync_channel(1);
        let path = store.path().to_path_buf();
        let serve = move || site::serve(&path, port, listener, &give);
        let thread = std::thread::Builder::new().name("ranking page".into()).spawn(serve);
        let thread = thread.map_err(|error| cannot("start", &error))?;
        match take.recv() {
            Ok(Ok(server)) => Ok(PageHandle { port, url, server, thread: Some(thread), _lock: lock }),
            Ok(Err(error)) => Err(cannot("serve", &error)),
            Err(_) => Err(Fault::new(FaultKind::Actor, "the ranking page ended before it began")),
        }
    }

    /// The port on which another process serves the page of a store now.
    pub fn find(store: &Store) -> Result<Option<u16>, Fault> {
        match take_lock(store.path(), 1) {
            Ok(_) => Ok(None),
            Err(fault) if fault.refusal.is_some() => Ok(store.get("port")?.and_then(|port| port.parse().ok())),
            Err(fault) => Err(fault),
        }
    }
}

impl PageHandle {
    /// The address for the first browser: good once.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the page. What raters sent is on the disk; a request on its way is answered first.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The order is sent by the call; the future only waits.
            drop(self.server.stop(false));
            // A page that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Drop for PageHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address for one more browser, good once; for a rater, or for whoever gives a name.
///
/// # Errors
/// A fault of the disk, or of the system's random numbers.
pub fn invite(store: &mut Store, port: u16, rater: Option<&str>) -> Result<String, Fault> {
    if let Some(rater) = rater {
        super::item::check_name("rater's name", rater)?;
    }
    let token = word()?;
    store.invite(&hash(&token), rater)?;
    Ok(format!("http://127.0.0.1:{port}/login#{token}"))
}

/// 256 random bits in hex.
fn word() -> Result<String, Fault> {
    let mut bytes = [0u8; 32];
    let failed = |error| Fault::new(FaultKind::Refused, format!("the system gives no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

/// What the store keeps of a word: found by its hash, so that no comparison tells how near a guess was.
fn hash(word: &str) -> String {
    blake3::hash(word.as_bytes()).to_hex().to_string()
}

fn cannot(doing: &str, error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Disk, format!("could not {doing} the ranking page: {error}"))
}

/// The lock that says who serves the page of a store; the system lets go of it when the process ends.
fn take_lock(store: &Path, tries: u32) -> Result<File, Fault> {
    let mut name = store.as_os_str().to_owned();
    name.push(".page");
    let path = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| Fault::disk("open", &path, &error))?;
    for left in (0..tries).rev() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if left > 0 => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(Fault::disk("lock", &path, &error)),
        }
    }
    let detail = format!("another process serves {}", store.display());
    let hint = "`pleach rank` gives an address of it, or end that process";
    Err(Refusal::new("could not serve the ranking page", detail, hint).into())
}

/// Listens on the port asked for; else on the one of last time, so that a page that is still open finds its server
/// again; else on a free one.
fn listen(store: &Store, port: Option<u16>) -> Result<TcpListener, Fault> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return bind(port).map_err(|error| {
            let hint = "name another port, or none";
            Refusal::new("could not serve the ranking page", format!("port {port}: {error}"), hint).into()
        });
    }
    let last = store.get("port")?.and_then(|port| port.parse().ok());
    let listener = last.map_or_else(|| bind(0), |port| bind(port).or_else(|_| bind(0)));
    listener.map_err(|error| cannot("serve", &error))
}
