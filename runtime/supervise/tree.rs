//! A running tree of supervisors on its control thread ([`start`], [`Running`]).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, System};
use tokio::sync::{oneshot, watch};

use super::behaviour::Site;
use super::exit::{Ending, Incident};
use super::failpoints::Failpoints;
use super::post::block_on;
use super::supervisor::{Boss, Command, Supervisor};
use super::team::Team;
use crate::fault::{Fault, FaultKind};

/// What a whole tree shares.
#[derive(Clone)]
pub struct Settings {
    /// Planned failures; none in a real run.
    pub failpoints: Failpoints,
    /// Told all that happens, on the control thread: it must be quick and must not ask any actor.
    pub observer: Arc<dyn Fn(&Incident) + Send + Sync>,
    /// How far the work has come, a number that grows; asked on the control thread. It matters to plans with a
    /// [`super::Plan::fruitless`].
    pub progress: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { failpoints: Failpoints::none(), observer: Arc::new(|_| {}), progress: Arc::new(|| 0) }
    }
}

/// A running tree. Dropping it stops the tree and waits for its end.
pub struct Running {
    top: Addr<Supervisor>,
    ending: watch::Receiver<Option<Ending>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Asks the tree to stop, last child first. Returns at once.
    pub fn stop(&self) {
        self.top.do_send(Command::Stop);
    }

    /// Waits for the end for at most `within`. None: it still runs.
    pub fn wait(&self, within: Duration) -> Option<Ending> {
        self.wait_until(Instant::now().checked_add(within))
    }

    /// Waits for the end and for the control thread.
    pub fn join(mut self) -> Ending {
        self.close()
    }

    fn wait_until(&self, until: Option<Instant>) -> Option<Ending> {
        let mut ending = self.ending.clone();
        let ended = async move {
            match ending.wait_for(Option::is_some).await {
                Ok(ending) => ending.clone().unwrap_or(Ending::Lost),
                Err(_) => Ending::Lost,
            }
        };
        block_on(ended, until)
    }

    fn close(&mut self) -> Ending {
        let ending = self.wait_until(None).unwrap_or(Ending::Lost);
        if let Some(thread) = self.thread.take() {
            // A panic of the control thread was reported as `Lost` already.
            drop(thread.join());
        }
        ending
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
            self.close();
        }
    }
}

/// Starts a tree on a control thread of its own, which runs supervisors and timers only. Nothing of the process around
/// it is touched: no signal handler, no panic hook, no global state.
pub fn start(team: Team, settings: Settings) -> Result<Running, Fault> {
    let Settings { failpoints, observer, progress } = settings;
    let site = Arc::new(Site { failpoints, observer, progress, epoch: Instant::now() });
    let (sender, ending) = watch::channel(None);
    let (address, top) = oneshot::channel();
    let over = ending.clone();
    let life = move || control(team, site, sender, address, over);
    let builder = std::thread::Builder::new().name("pleach-control".to_string());
    let failed = |what: String| Fault::new(FaultKind::Actor, format!("could not start the control thread: {what}"));
    let thread = builder.spawn(life).map_err(|error| failed(error.to_string()))?;
    let top = top.blocking_recv().map_err(|_| failed("its event loop did not start".to_string()))?;
    Ok(Running { top, ending, thread: Some(thread) })
}

fn control(
    team: Team,
    site: Arc<Site>,
    sender: watch::Sender<Option<Ending>>,
    address: oneshot::Sender<Addr<Supervisor>>,
    mut over: watch::Receiver<Option<Ending>>,
) {
    let system = System::new();
    system.block_on(async move {
        let name = team.name.clone();
        let top = Supervisor::new(team, name, site, Boss::Top(sender)).start();
        if address.send(top).is_ok() {
            // An error means that the supervisor is gone: the end as well.
            drop(over.wait_for(Option::is_some).await.map(|_| ()));
        }
    });
}
