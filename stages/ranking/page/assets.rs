//! The page's files, within the program.

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const ICON: &str = "image/svg+xml";

pub(super) const PAGE: &str = include_str!("assets/page.html");
pub(super) const STYLE: &str = include_str!("assets/page.css");
pub(super) const MAIN: &str = include_str!("assets/main.js");
pub(super) const ORDER: &str = include_str!("assets/order.js");
pub(super) const DRAG: &str = include_str!("assets/drag.js");
pub(super) const CARDS: &str = include_str!("assets/cards.js");
pub(super) const KEEP: &str = include_str!("assets/keep.js");
pub(super) const PANELS: &str = include_str!("assets/panels.js");
pub(super) const LOGIN: &str = include_str!("assets/login.html");
pub(super) const LOGIN_SCRIPT: &str = include_str!("assets/login.js");
pub(super) const MARK: &str = include_str!("assets/mark.svg");
