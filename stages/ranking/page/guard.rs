//! Who may ask what: decided before any address sees a request, and denied unless a rule allows it.

use super::hash;
use super::routes::{ROUTES, Visitor};
use super::site::Site;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;

/// A request that is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) status: StatusCode,
    pub(super) what: &'static str,
}

impl Denied {
    pub(super) fn response(&self) -> HttpResponse {
        let hint = "open the address that `pleach rank` prints";
        HttpResponseBuilder::new(self.status).json(json!({"what": self.what, "detail": "", "hint": hint}))
    }
}

const fn denied(status: StatusCode, what: &'static str) -> Denied {
    Denied { status, what }
}

/// The one value of a header; none where it is missing or stands there twice.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name);
    let first = all.next()?.to_str().ok()?;
    if all.next().is_some() { None } else { Some(first) }
}

/// The name of the session's cookie: cookies are shared by all ports of a host, so the port is in it.
pub(super) fn cookie_name(port: u16) -> String {
    format!("pleach-rank-{port}")
}

/// The value of our cookie.
fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    let all = headers.get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Decides about a request.
pub(super) fn check(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Visitor, Denied> {
    let port = site.port;
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
    let is_ours = |host: &str| ours.iter().any(|our| our == host);
    let host = only(headers, header::HOST).filter(|host| is_ours(host));
    let host = host.ok_or(denied(StatusCode::MISDIRECTED_REQUEST, "this is no address of the ranking page"))?;
    // A request may name its target in full; then that counts as well.
    if uri.authority().is_some_and(|authority| !is_ours(authority.as_str())) {
        return Err(denied(StatusCode::MISDIRECTED_REQUEST, "this is no address of the ranking page"));
    }
    let forbidden = |what| Err(denied(StatusCode::FORBIDDEN, what));
    match *method {
        Method::GET => {}
        Method::POST => {
            if only(headers, header::ORIGIN) != Some(format!("http://{host}").as_str()) {
                return forbidden("the request comes from another page");
            }
            if only(headers, header::CONTENT_TYPE) != Some("application/json") {
                return Err(denied(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the request is no JSON"));
            }
        }
        _ => return Err(denied(StatusCode::METHOD_NOT_ALLOWED, "the page knows GET and POST")),
    }
    // Browsers say who began a request. A link from elsewhere may lead here, nothing else.
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let follows = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate") && *method == Method::GET;
    if elsewhere && !follows {
        return forbidden("the request comes from another page");
    }
    let session = cookie(headers, port).map(hash).unwrap_or_default();
    let found = if session.is_empty() { None } else { site.session(&session)? };
    if let Some(rater) = found {
        return Ok(Visitor { session, rater });
    }
    let open = ROUTES.iter().any(|route| route.open && route.path == uri.path() && route.method == method.as_str());
    if open { Ok(Visitor::default()) } else { Err(denied(StatusCode::UNAUTHORIZED, "nobody was let in here")) }
}

/// What every answer carries.
pub(super) fn seal(headers: &mut HeaderMap) {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
        form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
        trusted-types 'none'";
    let all = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (header::PERMISSIONS_POLICY, "camera=(), microphone=(), geolocation=()"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
