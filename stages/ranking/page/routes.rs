//! Every address of the page: what is not here does not exist.

use super::assets::{
    CARDS, CSS, DRAG, HTML, ICON, KEEP, LOGIN, LOGIN_SCRIPT, MAIN, MARK, ORDER, PAGE, PANELS, SCRIPT, STYLE,
};
use super::site::{self, Site};
use pleach_runtime::fault::Fault;
use serde_json::Value;

/// What an address answers, as JSON: given the site, the rater where there is one, and the body.
pub(super) type Answers = fn(&mut Site, &Visitor, &[u8]) -> Result<Value, Fault>;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Visitor {
    /// Hash of the session's cookie; empty where an open address is asked without one.
    pub(super) session: String,
    /// The rater, once there is a name.
    pub(super) rater: Option<String>,
}

/// What an address does.
#[derive(Clone, Copy)]
pub enum Does {
    /// Gives a file of the page: its media type and text.
    File(&'static str, &'static str),
    /// Exchanges the word of an invitation for a cookie.
    Login,
    /// Answers a rater.
    Rater(Ask),
}

/// A function behind an address; opaque outside of the page.
#[derive(Clone, Copy)]
pub struct Ask(pub(super) Answers);

/// One address.
#[derive(Clone, Copy)]
pub struct Route {
    /// GET or POST; POST is what writes.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// Whether it answers without a session.
    pub open: bool,
    /// What it does.
    pub does: Does,
}

const fn file(path: &'static str, kind: &'static str, text: &'static str) -> Route {
    Route { method: "GET", path, open: false, does: Does::File(kind, text) }
}

const fn open(route: Route) -> Route {
    Route { open: true, ..route }
}

const fn get(path: &'static str, answer: Answers) -> Route {
    Route { method: "GET", path, open: false, does: Does::Rater(Ask(answer)) }
}

const fn post(path: &'static str, answer: Answers) -> Route {
    Route { method: "POST", path, open: false, does: Does::Rater(Ask(answer)) }
}

/// All addresses; the open ones are what a browser needs to come in.
pub const ROUTES: [Route; 20] = [
    open(file("/login", HTML, LOGIN)),
    open(file("/login.js", SCRIPT, LOGIN_SCRIPT)),
    open(file("/page.css", CSS, STYLE)),
    open(file("/mark.svg", ICON, MARK)),
    Route { method: "POST", path: "/login", open: true, does: Does::Login },
    file("/", HTML, PAGE),
    file("/main.js", SCRIPT, MAIN),
    file("/order.js", SCRIPT, ORDER),
    file("/drag.js", SCRIPT, DRAG),
    file("/cards.js", SCRIPT, CARDS),
    file("/keep.js", SCRIPT, KEEP),
    file("/panels.js", SCRIPT, PANELS),
    get("/api/state", site::state),
    get("/api/agreement", site::agreement),
    post("/api/rater", site::name),
    post("/api/guidelines", site::has_read),
    post("/api/next", site::next),
    post("/api/draft", site::draft),
    post("/api/submit", site::submit),
    post("/api/undo", site::undo),
];
