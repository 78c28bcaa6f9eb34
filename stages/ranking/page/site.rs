//! What the page's addresses answer. Raters see letters for completions, never ids or origins.

use super::guard::{self, Denied, cookie_name};
use super::routes::{Ask, Does, ROUTES, Route, Visitor};
use super::{BODY, CONNECTIONS, hash, word};
use crate::data::records::Said;
use crate::ranking::agreement;
use crate::ranking::item::{Answer, check_name};
use crate::ranking::store::{STALE, Store, Task};
use actix_web::dev::{ServerHandle, Service as _};
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpMessage as _, HttpRequest, HttpResponse, HttpServer, web};
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// Wrong words in a minute; more are not looked at.
const TRIES: usize = 5;

/// The site: it lives on the page's own event loop, which waits for the disk with it. Raters are few.
pub(super) struct Site {
    pub(super) port: u16,
    store: Result<Store, Fault>,
    tries: Vec<Instant>,
}

impl Site {
    fn open(path: &Path, port: u16) -> Site {
        Site { port, store: Store::open(path), tries: Vec::new() }
    }

    fn store(&mut self) -> Result<&mut Store, Fault> {
        self.store.as_mut().map_err(|fault| fault.clone())
    }

    pub(super) fn session(&self, hash: &str) -> Result<Option<Option<String>>, Denied> {
        let found = self.store.as_ref().map_err(Fault::clone).and_then(|store| store.session(hash));
        found.map_err(|_| Denied {
            status: StatusCode::SERVICE_UNAVAILABLE,
            what: "the store of rankings does not answer",
        })
    }
}

/// Serves until it is told to stop.
pub(super) fn serve(path: &Path, port: u16, listener: TcpListener, give: &SyncSender<std::io::Result<ServerHandle>>) {
    let path: PathBuf = path.to_path_buf();
    let app = move || {
        let site = Data::new(RefCell::new(Site::open(&path, port)));
        let at_the_door = site.clone();
        let mut app = App::new().app_data(site).app_data(PayloadConfig::new(BODY)).default_service(web::to(nothing));
        for route in &ROUTES {
            let method = if route.method == "GET" { web::get() } else { web::post() };
            let answer = move |request, site, body| std::future::ready(answer(route, &request, &site, &body));
            app = app.route(route.path, method.to(answer));
        }
        app.wrap_fn(move |request, service| {
            let verdict = guard::check(&at_the_door.borrow(), request.method(), request.uri(), request.headers());
            let passed = match verdict {
                Ok(visitor) => {
                    request.extensions_mut().insert(visitor);
                    Ok(service.call(request))
                }
                Err(denied) => Err(request.into_response(denied.response())),
            };
            async move {
                let mut response = match passed {
                    Ok(answer) => answer.await?,
                    Err(response) => response,
                };
                guard::seal(response.headers_mut());
                Ok(response)
            }
        })
    };
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .max_connections(CONNECTIONS)
            .client_request_timeout(Duration::from_secs(10))
            .shutdown_timeout(2)
            .listen(listener);
        match server {
            Ok(server) => {
                let server = server.run();
                // Whoever started the page waits for this.
                let _ = give.send(Ok(server.handle()));
                let _ = server.await;
            }
            Err(error) => {
                let _ = give.send(Err(error));
            }
        }
    });
}

async fn nothing() -> HttpResponse {
    HttpResponse::NotFound().json(json!({"what": "there is no such address", "detail": "", "hint": "open /"}))
}

fn answer(route: &Route, request: &HttpRequest, site: &Data<RefCell<Site>>, body: &Bytes) -> HttpResponse {
    let visitor = request.extensions().get::<Visitor>().cloned().unwrap_or_default();
    let mut site = site.borrow_mut();
    match route.does {
        Does::File(kind, text) => HttpResponse::Ok().content_type(kind).body(text),
        Does::Login => login(&mut site, body),
        Does::Rater(Ask(answers)) => match answers(&mut site, &visitor, body) {
            Ok(value) => HttpResponse::Ok().json(value),
            Err(fault) => failed(&fault),
        },
    }
}

/// A fault as an answer in words.
fn failed(fault: &Fault) -> HttpResponse {
    let status = match (&fault.refusal, fault.kind) {
        (Some(_), _) if fault.what == STALE => StatusCode::CONFLICT,
        (Some(_), _) => StatusCode::UNPROCESSABLE_ENTITY,
        (None, FaultKind::DiskFull) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let hint = "the page keeps what you did and tries again";
    let words = match &fault.refusal {
        Some(refusal) => json!({"what": refusal.what, "detail": refusal.detail, "hint": refusal.hint}),
        None => json!({"what": "the machine failed", "detail": fault.what, "hint": hint}),
    };
    HttpResponse::build(status).json(words)
}

/// Reads a body.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new("could not read the request", error.to_string(), "reload the page").into())
}

/// Exchanges a word for a cookie, once.
fn login(site: &mut Site, body: &[u8]) -> HttpResponse {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        token: String,
    }
    site.tries.retain(|then| then.elapsed() < Duration::from_secs(60));
    if site.tries.len() >= TRIES {
        return Denied { status: StatusCode::TOO_MANY_REQUESTS, what: "too many wrong words: wait a minute" }
            .response();
    }
    let begun = read::<Login>(body).and_then(|login| {
        let store = site.store()?;
        let Some(rater) = store.accept(&hash(&login.token))? else { return Ok(None) };
        let session = word()?;
        store.begin_session(&hash(&session), rater.as_deref())?;
        Ok(Some(session))
    });
    match begun {
        Ok(Some(session)) => {
            let name = cookie_name(site.port);
            let cookie = format!("{name}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
            HttpResponse::NoContent().insert_header((header::SET_COOKIE, cookie)).finish()
        }
        Ok(None) => {
            site.tries.push(Instant::now());
            let what = "this address was used already, or is none of ours";
            Denied { status: StatusCode::UNAUTHORIZED, what }.response()
        }
        Err(fault) => failed(&fault),
    }
}

/// The rater of a session, who must have a name by now.
fn rater(visitor: &Visitor) -> Result<&str, Fault> {
    let nameless = || Refusal::new("could not take that", "the rater has no name yet", "reload the page");
    visitor.rater.as_deref().ok_or_else(|| nameless().into())
}

/// Everything that does not change from item to item.
pub(super) fn state(site: &mut Site, visitor: &Visitor, _: &[u8]) -> Result<Value, Fault> {
    let store = site.store()?;
    let (hash, text) = store.guidelines()?;
    let read = match &visitor.rater {
        Some(rater) => store.has_read(rater, &hash)?,
        None => false,
    };
    let options = store.options();
    Ok(json!({
        "rater": visitor.rater,
        "store": store.get("id")?,
        "mode": options.mode,
        "flags": options.flags.groups,
        "guidelines": {"hash": hash, "text": text, "read": read},
    }))
}

/// How far raters agree.
pub(super) fn agreement(site: &mut Site, _: &Visitor, _: &[u8]) -> Result<Value, Fault> {
    let figures = agreement::agreement(site.store()?)?;
    serde_json::to_value(figures).map_err(|error| Fault::new(FaultKind::Numbers, error.to_string()))
}

/// A rater's name, given once for a session.
pub(super) fn name(site: &mut Site, visitor: &Visitor, body: &[u8]) -> Result<Value, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Name {
        name: String,
    }
    let Name { name } = read(body)?;
    check_name("name", &name)?;
    let refuse = |detail: &str, hint: &str| Err(Refusal::new("could not take the name", detail, hint).into());
    if visitor.rater.as_ref().is_some_and(|known| *known != name) {
        return refuse("this window has a rater already", "ask for an address of your own");
    }
    if ["simulated", "imported"].iter().any(|taken| name.to_lowercase().starts_with(taken)) {
        return refuse("names that begin so are for rankings that no person made here", "give another name");
    }
    site.store()?.name_session(&visitor.session, &name)?;
    Ok(json!({"rater": name}))
}

/// The rater has read the guidelines.
pub(super) fn has_read(site: &mut Site, visitor: &Visitor, body: &[u8]) -> Result<Value, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Read {
        hash: String,
    }
    let Read { hash } = read(body)?;
    let store = site.store()?;
    if store.guidelines()?.0 != hash {
        let detail = "they changed meanwhile";
        return Err(Refusal::new("could not note the guidelines", detail, "reload the page").into());
    }
    store.note_read(rater(visitor)?, &hash)?;
    Ok(json!({}))
}

/// The next item.
pub(super) fn next(site: &mut Site, visitor: &Visitor, _: &[u8]) -> Result<Value, Fault> {
    let (store, rater) = (site.store()?, rater(visitor)?);
    let task = store.next(rater)?;
    shown(store, rater, task.as_ref())
}

/// A draft or an answer, in the page's letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    assignment: i64,
    revision: i64,
    answer: Answer,
}

/// Keeps a draft.
pub(super) fn draft(site: &mut Site, visitor: &Visitor, body: &[u8]) -> Result<Value, Fault> {
    let (store, rater, sent) = (site.store()?, rater(visitor)?, read::<Sent>(body)?);
    let task = store.task(rater, sent.assignment)?;
    store.draft(rater, sent.assignment, sent.revision, &with_ids(sent.answer, &task)?)?;
    Ok(json!({"revision": sent.revision}))
}

/// Takes an answer, and gives the next item.
pub(super) fn submit(site: &mut Site, visitor: &Visitor, body: &[u8]) -> Result<Value, Fault> {
    let (store, rater, sent) = (site.store()?, rater(visitor)?, read::<Sent>(body)?);
    let task = store.task(rater, sent.assignment)?;
    store.submit(rater, sent.assignment, sent.revision, &with_ids(sent.answer, &task)?)?;
    let task = store.next(rater)?;
    shown(store, rater, task.as_ref())
}

/// Takes the last answer back.
pub(super) fn undo(site: &mut Site, visitor: &Visitor, _: &[u8]) -> Result<Value, Fault> {
    let (store, rater) = (site.store()?, rater(visitor)?);
    match store.undo(rater)? {
        Some(task) => shown(store, rater, Some(&task)),
        None => Err(Refusal::new("nothing to take back", "there is no answer of yours", "rank an item first").into()),
    }
}

/// The letter of the completion in a place of the order shown.
fn letter(place: usize) -> String {
    char::from(b'A' + place as u8).to_string()
}

/// An item as the page sees it: letters for ids, no origin, no word about repeats.
fn shown(store: &Store, rater: &str, task: Option<&Task>) -> Result<Value, Fault> {
    let progress = store.progress(rater)?;
    let progress = json!({
        "ranked": progress.ranked,
        "skipped": progress.skipped,
        "seconds": progress.seconds,
        "rankings": progress.counts.rankings,
        "missing": progress.counts.missing,
        "items": progress.counts.items,
        "enough": store.options().enough,
    });
    let Some(task) = task else { return Ok(json!({"task": null, "progress": progress})) };
    let completions = task.shown.iter().enumerate().map(|(place, id)| {
        let said = task.item.completions.iter().find(|one| one.id == *id).map(|one| parts(&one.said));
        json!({"letter": letter(place), "parts": said})
    });
    let completions: Vec<Value> = completions.collect();
    let of = |id: &str| task.shown.iter().position(|shown| shown == id).map_or_else(String::new, letter);
    Ok(json!({
        "task": {
            "assignment": task.assignment,
            "revision": task.revision,
            "prompt": parts(&task.item.prompt),
            "completions": completions,
            "draft": renamed(task.draft.clone(), &of),
        },
        "progress": progress,
    }))
}

/// What is said, as turns of a role and a text.
fn parts(said: &Said) -> Value {
    match said {
        Said::Text(text) => json!([{"role": "", "text": text}]),
        Said::Messages(messages) => {
            let part = |message: &crate::data::records::Message| {
                let calls = message.tool_calls.iter().map(|call| format!("{call:#}"));
                let texts = message.reasoning.iter().chain(&message.content).cloned().chain(calls);
                json!({"role": message.role.name(), "text": texts.collect::<Vec<_>>().join("\n\n")})
            };
            messages.iter().map(part).collect()
        }
    }
}

/// An answer under other names of its completions.
fn renamed(answer: Answer, of: &dyn Fn(&str) -> String) -> Answer {
    Answer {
        order: answer.order.iter().map(|group| group.iter().map(|id| of(id)).collect()).collect(),
        flags: answer.flags.into_iter().map(|(id, flags)| (of(&id), flags)).collect(),
        comments: answer.comments.into_iter().map(|(id, comment)| (of(&id), comment)).collect(),
        ..answer
    }
}

/// An answer of the page under the item's own ids; an unknown letter is refused.
fn with_ids(answer: Answer, task: &Task) -> Result<Answer, Fault> {
    let ids: BTreeMap<String, &String> = task.shown.iter().enumerate().map(|(place, id)| (letter(place), id)).collect();
    let named = answer.order.iter().flatten().chain(answer.flags.keys()).chain(answer.comments.keys());
    if let Some(unknown) = named.into_iter().find(|letter| !ids.contains_key(*letter)) {
        let detail = format!("there is no completion {unknown:?}");
        return Err(Refusal::new("could not take the answer", detail, "reload the page").into());
    }
    Ok(renamed(answer, &|letter| ids.get(letter).map_or_else(String::new, |id| (*id).clone())))
}
