//! The page's door: every address, by the table that serves them, and what each refuses; then a rater's whole way.

use super::plain;
use pleach::ranking::page::{Page, PageHandle, PageOptions, ROUTES, Route, invite};
use pleach::ranking::{Options, Store};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// An answer of the server.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends bytes and reads what comes until the server closes.
fn raw(port: u16, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses a long body may close before it has read all of it.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

/// A request with these headers and no others.
fn request(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if method == "POST" || !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    raw(port, format!("{text}\r\n{body}").as_bytes())
}

/// The headers of our own page.
struct Browser {
    port: u16,
    host: String,
    origin: String,
    cookie: String,
}

impl Browser {
    fn new(port: u16) -> Browser {
        let host = format!("127.0.0.1:{port}");
        Browser { port, origin: format!("http://{host}"), host, cookie: String::new() }
    }

    /// A browser that came in by an address.
    fn enter(url: &str) -> Browser {
        let (page, token) = url.split_once("/login#").unwrap();
        let mut browser = Browser::new(page.rsplit(':').next().unwrap().parse().unwrap());
        let reply = browser.post("/login", &json!({"token": token}));
        assert_eq!(reply.status, 204, "{}", reply.body);
        let cookie = reply.header("set-cookie").unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    /// The usual headers of a request, without one of them, or with another value of it.
    fn headers<'a>(&'a self, method: &str, change: (&'a str, Option<&'a str>)) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![("Host", self.host.as_str()), ("Cookie", self.cookie.as_str())];
        if method == "POST" {
            all.extend([("Origin", self.origin.as_str()), ("Content-Type", "application/json")]);
        }
        all.retain(|(name, _)| *name != change.0);
        all.extend(change.1.map(|value| (change.0, value)));
        all
    }

    fn send(&self, route: &Route, change: (&str, Option<&str>)) -> Reply {
        let body = if route.method == "POST" { "{}" } else { "" };
        request(self.port, route.method, route.path, &self.headers(route.method, change), body)
    }

    fn get(&self, path: &str) -> Reply {
        request(self.port, "GET", path, &self.headers("GET", ("", None)), "")
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        request(self.port, "POST", path, &self.headers("POST", ("", None)), &body.to_string())
    }
}

fn served(items: usize, change: impl Fn(Options) -> Options) -> (tempfile::TempDir, Store, PageHandle) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, items);
    let options = change(store.options().clone());
    store.configure(&options).unwrap();
    let page = Page::start(&mut store, &PageOptions::default()).unwrap();
    (folder, store, page)
}

#[test]
fn every_route_refuses_a_wrong_host_a_wrong_origin_and_a_missing_token() {
    let (_folder, _store, page) = served(1, |options| options);
    let port = page.port();
    let inside = Browser::enter(page.url());
    let outside = Browser::new(port);
    for route in &ROUTES {
        let name = format!("{} {}", route.method, route.path);
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80", &*format!("127.0.0.2:{port}")] {
            let reply = inside.send(route, ("Host", Some(host)));
            assert_eq!(reply.status, 421, "{name} answers the host {host}: {}", reply.body);
        }
        assert!(matches!(inside.send(route, ("Host", None)).status, 400 | 421), "{name} answers without a host");
        let twice = [("Host", inside.host.as_str()), ("Host", "evil.example"), ("Cookie", inside.cookie.as_str())];
        assert!(matches!(request(port, route.method, route.path, &twice, "").status, 400 | 421), "{name}: two hosts");
        let full = request(
            port,
            route.method,
            &format!("http://evil.example{}", route.path),
            &inside.headers(route.method, ("", None)),
            "",
        );
        assert_eq!(full.status, 421, "{name}: another host in the target");
        let from = inside.send(route, ("Sec-Fetch-Site", Some("cross-site")));
        assert_eq!(from.status, 403, "{name}: asked by another page");
        if route.method == "POST" {
            for origin in
                [None, Some("null"), Some("https://evil.example"), Some("http://127.0.0.1"), Some("http://localhost:1")]
            {
                let reply = inside.send(route, ("Origin", origin));
                assert_eq!(reply.status, 403, "{name} answers the origin {origin:?}");
            }
            for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
                assert_eq!(inside.send(route, ("Content-Type", kind)).status, 415, "{name} takes {kind:?}");
            }
        }
        for (who, cookie) in [("nobody", ""), ("a liar", &*format!("pleach-rank-{port}={}", "0".repeat(64)))] {
            let reply = outside.send(route, ("Cookie", Some(cookie)));
            assert_eq!(reply.status == 401, !route.open, "{name} for {who}: {}", reply.status);
        }
        let reply = inside.send(route, ("", None));
        assert!(!matches!(reply.status, 401 | 403 | 404 | 421), "{name} answers its own page: {}", reply.status);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{name}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert!(!reply.head.to_lowercase().contains("access-control"), "{name}: {}", reply.head);
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"] {
            let reply = request(port, method, route.path, &inside.headers("POST", ("", None)), "");
            assert!(matches!(reply.status, 400 | 405), "{method} {}: {}", route.path, reply.status);
        }
    }
    assert_eq!(outside.get("/api/no-such-address").status, 401, "what does not exist is denied as well");
    assert_eq!(inside.get("/api/no-such-address").status, 404);
    assert_eq!(inside.get("/../Cargo.toml").status, 404);
    let other = ("Cookie", Some("pleach-rank-1=0"));
    assert_eq!(
        request(port, "GET", "/api/state", &inside.headers("GET", other), "").status,
        401,
        "another port's cookie"
    );
}

#[test]
fn an_address_is_good_once_and_guesses_are_few() {
    let (_folder, mut store, page) = served(1, |options| options);
    let token = page.url().split_once('#').unwrap().1.to_owned();
    assert_eq!(token.len(), 64);
    let files = std::fs::read(store.path()).unwrap();
    assert!(!files.windows(64).any(|window| window == token.as_bytes()), "the store has no word in clear");
    Browser::enter(page.url());
    let browser = Browser::new(page.port());
    assert_eq!(browser.post("/login", &json!({"token": token})).status, 401, "a used address");
    for _ in 0..4 {
        assert_eq!(browser.post("/login", &json!({"token": "guess"})).status, 401);
    }
    let good = invite(&mut store, page.port(), None).unwrap();
    let good = good.split_once('#').unwrap().1;
    assert_eq!(browser.post("/login", &json!({"token": good})).status, 429, "five wrong words in a minute");
}

#[test]
fn bodies_have_a_limit_and_must_be_what_is_expected() {
    let (_folder, _store, page) = served(1, |options| options);
    let browser = Browser::enter(page.url());
    let long = json!({"name": "x".repeat(2 << 20)});
    assert!(matches!(browser.post("/api/rater", &long).status, 413 | 0), "a body of two megabytes");
    for body in [json!({}), json!([]), json!({"name": 1}), json!({"name": "Ada", "path": "/etc/passwd"})] {
        assert_eq!(browser.post("/api/rater", &body).status, 422, "{body}");
    }
    for name in ["", "simulated rater", "Imported from x", "a\nb"] {
        assert_eq!(browser.post("/api/rater", &json!({"name": name})).status, 422, "{name:?}");
    }
    assert_eq!(browser.post("/api/next", &json!({})).status, 422, "nobody has a name yet");
    assert_eq!(browser.post("/api/rater", &json!({"name": "Ada"})).status, 200);
    assert_eq!(browser.post("/api/rater", &json!({"name": "Bob"})).status, 422, "a window has one rater");
}

#[test]
fn a_rater_goes_all_the_way_and_sees_no_origin() {
    let (_folder, mut store, page) = served(3, |options| options);
    let url = invite(&mut store, page.port(), Some("Ada")).unwrap();
    let browser = Browser::enter(&url);
    assert_eq!(browser.get("/api/state").json()["rater"], "Ada");
    let first = browser.post("/api/next", &json!({}));
    assert!(!first.body.contains("step-") && !first.body.contains("\"i0\""), "{}", first.body);
    let task = first.json()["task"].clone();
    let letters: Vec<&str> =
        task["completions"].as_array().unwrap().iter().map(|one| one["letter"].as_str().unwrap()).collect();
    assert_eq!(letters, ["A", "B", "C"]);
    // What stands under B, whichever that is, is best.
    let text = task["completions"][1]["parts"][0]["text"].as_str().unwrap().to_owned();
    let answer =
        json!({"order": [["B"], ["A", "C"]], "flags": {"B": ["rude"]}, "comments": {"A": "why?"}, "seconds": 3.5});
    let sent = |revision: i64, answer: &Value| json!({"assignment": task["assignment"], "revision": revision, "answer": answer});
    assert_eq!(browser.post("/api/draft", &sent(1, &json!({"order": [["B"]]}))).status, 200);
    assert_eq!(browser.post("/api/draft", &sent(2, &json!({"order": [["Z"]]}))).status, 422);
    assert_eq!(browser.post("/api/draft", &sent(0, &json!({"order": [["C"]]}))).status, 409);
    assert_eq!(browser.post("/api/submit", &sent(3, &json!({"order": [["B"]]}))).status, 422, "not all have a rank");
    let next = browser.post("/api/submit", &sent(3, &answer)).json();
    assert_ne!(next["task"]["assignment"], task["assignment"]);
    assert_eq!((&next["progress"]["ranked"], &next["progress"]["missing"]), (&json!(1), &json!(2)));
    assert_eq!(browser.post("/api/submit", &sent(3, &answer)).json()["task"], next["task"], "sent twice, taken once");
    let judged = store.judged().unwrap();
    let item = &store.items().unwrap()[judged[0].item];
    let best = item.completions.iter().find(|one| one.id == judged[0].answer.order[0][0]).unwrap();
    assert_eq!((judged.len(), best.said.words()), (1, text));
    assert_eq!(judged[0].answer.flags[&best.id], ["rude"]);
    let back = browser.post("/api/undo", &json!({})).json();
    assert_eq!(back["task"]["assignment"], task["assignment"]);
    assert_eq!(back["task"]["draft"]["order"], json!([["B"], ["A", "C"]]));
    let agreement = browser.get("/api/agreement").json();
    assert_eq!(agreement["yardsticks"].as_array().unwrap().len(), 3);
    let hash = browser.get("/api/state").json()["guidelines"]["hash"].clone();
    assert_eq!(browser.post("/api/guidelines", &json!({"hash": "old"})).status, 422);
    assert_eq!(browser.post("/api/guidelines", &json!({"hash": hash})).status, 200);
    assert_eq!(browser.get("/api/state").json()["guidelines"]["read"], true);
}

#[test]
fn a_session_outlives_the_server_and_one_process_serves() {
    let (_folder, mut store, page) = served(2, |options| options);
    let port = page.port();
    let browser = Browser::enter(page.url());
    assert_eq!(browser.post("/api/rater", &json!({"name": "Ada"})).status, 200);
    let mut other = Store::open(store.path()).unwrap();
    let second = Page::start(&mut other, &PageOptions::default()).unwrap_err();
    assert!(second.refusal.unwrap().to_string().contains("another process serves"));
    assert_eq!(Page::find(&other).unwrap(), Some(port));
    let start = Instant::now();
    page.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(Page::find(&other).unwrap(), None);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listens no more");
    let again = Page::start(&mut store, &PageOptions::default()).unwrap();
    assert_eq!(again.port(), port, "the port of last time, so that an open page finds it");
    assert_eq!(browser.get("/api/state").json()["rater"], "Ada");
    store.delete_rater("Ada").unwrap_or_default();
    drop(again);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(taken.local_addr().unwrap().port());
    let refused = Page::start(&mut store, &PageOptions { port, rater: None }).unwrap_err();
    assert!(refused.refusal.unwrap().to_string().contains("name another port"));
}

#[test]
fn two_raters_rank_one_item_at_once() {
    let (_folder, mut store, page) = served(1, |options| Options { overlap: 1.0, ..options });
    let mut enter = |name: &str| Browser::enter(&invite(&mut store, page.port(), Some(name)).unwrap());
    let (ada, bob) = (enter("Ada"), enter("Bob"));
    let [one, two] = [&ada, &bob].map(|browser| browser.post("/api/next", &json!({})).json()["task"].clone());
    let all = json!({"order": [["A"], ["B"], ["C"]]});
    let sent = |task: &Value| json!({"assignment": task["assignment"], "revision": 1, "answer": all});
    assert_eq!(ada.post("/api/submit", &sent(&two)).status, 422, "what Bob holds is not Ada's");
    assert_eq!(bob.post("/api/submit", &sent(&two)).status, 200);
    let rest = ada.post("/api/submit", &sent(&one));
    assert_eq!((rest.status, &rest.json()["task"]), (200, &Value::Null));
    assert_eq!(store.judged().unwrap().len(), 2);
    assert!(store.judged().unwrap().iter().all(|one| one.answer.ranks(&["a", "b", "c"]).is_some()));
}
