//! How a supervisor decides ([`Plan`]), and what it knows of a child ([`Spec`]): in the words of OTP.

use std::time::Duration;

/// Who is restarted when a child dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The child alone.
    OneForOne,
    /// All children.
    OneForAll,
    /// The child and those started after it.
    RestForOne,
}

/// When a child is hired again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After an abnormal end only.
    Transient,
    /// Never, not even by a strategy; once ended it is forgotten.
    Temporary,
    /// After a normal end too, as the next of a succession, which does not count as a failure; until it ends with
    /// [`super::Reason::Finished`].
    Successive,
}

/// One child, as the policy sees it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name, unique among its siblings.
    pub name: String,
    /// When it is hired again.
    pub restart: Restart,
    /// Its own end ends the supervisor, if the plan says so. Not for permanent children.
    pub significant: bool,
    /// How long it may take to stop; None: for ever.
    pub shutdown: Option<Duration>,
    /// The last generation used before: the first start has the next.
    pub after: u64,
}

/// How a supervisor decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is restarted.
    pub strategy: Strategy,
    /// More restarts than this within `period`: give up.
    pub intensity: u32,
    /// The period of the intensity; also how long a child must live for its back-off to be forgotten.
    pub period: Duration,
    /// More deaths than this since the work last moved on ([`super::Settings::progress`]), however slowly they come:
    /// give up. None: only time forgives.
    pub fruitless: Option<u32>,
    /// Whether the end of any significant child ends the supervisor (OTP: any_significant).
    pub auto_shutdown: bool,
    /// The delay before the second restart in a row (the first is immediate); it doubles from there.
    pub backoff: Duration,
    /// The longest delay.
    pub backoff_cap: Duration,
    /// More abandoned threads than this: give up.
    pub abandoned: u32,
}

impl Default for Plan {
    /// OTP's strategy and a little more patience: one_for_one, 5 in 60 s, back-off 50 ms to 5 s, 2 abandoned threads.
    fn default() -> Plan {
        Plan {
            strategy: Strategy::OneForOne,
            intensity: 5,
            period: Duration::from_secs(60),
            fruitless: None,
            auto_shutdown: false,
            backoff: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(5),
            abandoned: 2,
        }
    }
}
