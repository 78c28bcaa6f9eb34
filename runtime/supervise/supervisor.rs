//! The supervisor actor: runs the policy on the control thread, never blocks on a child, and is itself a child.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};

use super::behaviour::Site;
use super::exit::{Ending, Incident, Reason, What};
use super::policy::{Action, Event, Policy};
use super::shell::Permit;
use super::team::{Child, Post, Team};
use super::watch::{Sight, Watch};

/// How a child tells its supervisor what became of it.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) to: Addr<Supervisor>,
    pub(crate) child: usize,
    pub(crate) path: Arc<str>,
    pub(crate) site: Arc<Site>,
}

impl Line {
    /// Control only, a few words per life of a child: this may pass the mailbox's bound.
    pub(crate) fn tell(&self, generation: u64, news: News) {
        self.to.do_send(Notice { child: self.child, generation, news });
    }
}

pub(crate) enum News {
    Started,
    Exit { reason: Reason, permit: Option<Permit> },
}

struct Notice {
    child: usize,
    generation: u64,
    news: News,
}

impl actix::Message for Notice {
    type Result = ();
}

pub(crate) enum Command {
    /// Stop all children, last first, and end.
    Stop,
    /// Leave all children behind and end.
    Abandon,
}

impl actix::Message for Command {
    type Result = ();
}

/// Whom the supervisor answers to.
pub(crate) enum Boss {
    Parent { line: Line, generation: u64 },
    Top(tokio::sync::watch::Sender<Option<Ending>>),
}

struct Member {
    name: String,
    post: Box<dyn Post>,
    limit: Option<Duration>,
}

pub(crate) struct Supervisor {
    path: Arc<str>,
    policy: Policy,
    members: Vec<Member>,
    watch: Option<(Duration, Watch)>,
    site: Arc<Site>,
    boss: Boss,
    /// The time of the earliest alarm that is set.
    alarm: Option<Duration>,
    /// How far the work had come when the policy last heard of it.
    progress: u64,
    ended: bool,
}

impl Supervisor {
    /// Starts a supervisor on this thread's event loop, under another supervisor.
    pub(crate) fn hire(team: Team, line: Line, generation: u64) -> Addr<Supervisor> {
        let path = format!("{}/{}", line.path, team.name);
        let site = line.site.clone();
        Supervisor::new(team, path, site, Boss::Parent { line, generation }).start()
    }

    pub(crate) fn new(team: Team, path: String, site: Arc<Site>, boss: Boss) -> Supervisor {
        let specs = team.children.iter().map(|child| child.spec.clone()).collect();
        let watched = team.children.iter().any(|child| child.limit.is_some());
        let watch = watched.then(|| (team.tick, Watch::new(team.tick, site.now())));
        let member = |Child { spec, post, limit }| Member { name: spec.name, post, limit };
        let members = team.children.into_iter().map(member).collect();
        let policy = Policy::new(team.plan, specs);
        let progress = (site.progress)();
        Supervisor { path: path.into(), policy, members, watch, site, boss, alarm: None, progress, ended: false }
    }

    fn observe(&self, child: Option<usize>, generation: u64, what: What) {
        let child = child.map_or(String::new(), |child| self.members[child].name.clone());
        let incident = Incident { supervisor: self.path.to_string(), child, generation, what };
        // An observer's panic is its own affair.
        drop(catch_unwind(AssertUnwindSafe(|| (self.site.observer)(&incident))));
    }

    /// Feeds the policy and does what it says; what comes of that at once is fed in turn.
    fn feed(&mut self, event: Event, context: &mut Context<Self>) {
        let progress = (self.site.progress)();
        if progress > self.progress {
            self.progress = progress;
            self.policy.progressed();
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.policy.handle(self.site.now(), event) {
                if let Some(event) = self.perform(action, context) {
                    events.push_back(event);
                }
            }
        }
        self.set_alarm(context);
    }

    fn perform(&mut self, action: Action, context: &mut Context<Self>) -> Option<Event> {
        match action {
            Action::Start { child, generation } => {
                let (path, site) = (self.path.clone(), self.site.clone());
                let line = Line { to: context.address(), child, path, site };
                let started = self.members[child].post.start(generation, &line);
                return started.err().map(|reason| {
                    self.observe(Some(child), generation, What::Ended(reason.clone()));
                    Event::Exit { child, generation, reason }
                });
            }
            Action::Stop { child, generation } => {
                self.observe(Some(child), generation, What::ToldToStop);
                self.members[child].post.stop(generation);
            }
            Action::Abandon { child, generation } => {
                self.observe(Some(child), generation, What::Abandoned);
                self.members[child].post.abandon(generation);
            }
            Action::Dismiss { child } => self.members[child].post.dismiss(),
            Action::Up => {
                if let Boss::Parent { line, generation } = &self.boss {
                    line.tell(*generation, News::Started);
                }
            }
            Action::End(ending) => self.end(ending, context),
        }
        None
    }

    fn end(&mut self, ending: Ending, context: &mut Context<Self>) {
        self.members.iter_mut().rev().for_each(|member| member.post.dismiss());
        self.observe(None, 0, What::SupervisorEnded(ending.clone()));
        self.tell_boss(ending);
        context.terminate();
    }

    fn tell_boss(&mut self, ending: Ending) {
        self.ended = true;
        match &self.boss {
            Boss::Parent { line, generation } => {
                line.tell(*generation, News::Exit { reason: ending.reason(), permit: None });
            }
            Boss::Top(sender) => drop(sender.send_replace(Some(ending))),
        }
    }

    /// Sees to it that a tick comes at the policy's deadline. No alarm is ever cancelled (a future cancelled in the
    /// same breath as `terminate` makes actix spin for ever); one that comes in vain does no harm.
    fn set_alarm(&mut self, context: &mut Context<Self>) {
        let Some(deadline) = self.policy.deadline() else {
            return;
        };
        if self.ended || self.alarm.is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        self.alarm = Some(deadline);
        context.run_later(deadline.saturating_sub(self.site.now()), move |supervisor, context| {
            if supervisor.alarm == Some(deadline) {
                supervisor.alarm = None;
            }
            supervisor.feed(Event::Tick, context);
        });
    }

    fn look(&mut self, context: &mut Context<Self>) {
        let Some((_, watch)) = &mut self.watch else {
            return;
        };
        let members = self.members.iter().enumerate();
        let watched = members.filter_map(|(index, member)| Some((index, member.limit?, member.post.heart().busy())));
        for sight in watch.look(self.site.now(), watched) {
            match sight {
                Sight::Late(late) => self.observe(None, 0, What::LateTick(late)),
                Sight::Accused { child, generation, busy } => {
                    self.feed(Event::Hung { child, generation, busy }, context);
                }
            }
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some((tick, _)) = &self.watch {
            context.run_interval(*tick, Supervisor::look);
        }
        self.feed(Event::Begin, context);
    }
}

impl Handler<Notice> for Supervisor {
    type Result = ();

    fn handle(&mut self, notice: Notice, context: &mut Context<Self>) {
        let Notice { child, generation, news } = notice;
        match news {
            News::Started => {
                self.observe(Some(child), generation, What::Started);
                self.feed(Event::Started { child, generation }, context);
            }
            News::Exit { reason, permit } => {
                let member = &mut self.members[child];
                if member.post.heart().holds(generation) {
                    member.post.exited(permit);
                }
                self.observe(Some(child), generation, What::Ended(reason.clone()));
                self.feed(Event::Exit { child, generation, reason }, context);
            }
        }
    }
}

impl Handler<Command> for Supervisor {
    type Result = ();

    fn handle(&mut self, command: Command, context: &mut Context<Self>) {
        match command {
            Command::Stop => self.feed(Event::Stop, context),
            Command::Abandon => {
                for member in self.members.iter_mut().rev() {
                    let generation = member.post.heart().generation();
                    member.post.abandon(generation);
                }
                self.end(Ending::Lost, context);
            }
        }
    }
}

impl Drop for Supervisor {
    /// The sentinel of the supervisor itself.
    fn drop(&mut self) {
        if !self.ended {
            self.tell_boss(Ending::Lost);
        }
    }
}
