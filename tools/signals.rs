//! Ctrl-C and termination, counted and told apart; the only place that knows the operating system's signals.

use std::sync::mpsc::{Receiver, channel};

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A request to terminate.
    Terminate,
}

/// The signals of this process since [`Signals::listen`].
pub struct Signals {
    received: Receiver<Signal>,
    seen: std::cell::RefCell<Vec<Signal>>,
}

impl Signals {
    /// Takes the process's signals over. Where that fails none are heard, and the person is told.
    pub fn listen() -> Signals {
        let (sender, received) = channel();
        // Once nobody counts any more (a chat after training), a signal ends the program as it would have without us.
        let tell = move |signal| {
            if sender.send(signal).is_err() {
                std::process::exit(if signal == Signal::Terminate { 143 } else { 130 });
            }
        };
        if let Err(error) = hear(tell) {
            eprintln!("signals are not handled: {error}");
        }
        Signals { received, seen: std::cell::RefCell::default() }
    }

    /// Signals so far.
    pub fn count(&self) -> usize {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.received.try_iter());
        seen.len()
    }

    /// The exit code of a process that ended by its first signal: 130 or 143.
    pub fn code(&self) -> u8 {
        match self.seen.borrow().first() {
            Some(Signal::Terminate) => 143,
            _ => 130,
        }
    }
}

#[cfg(unix)]
fn hear(mut tell: impl FnMut(Signal) + Send + 'static) -> Result<(), String> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    let listen = move || {
        for signal in signals.forever() {
            tell(if signal == SIGTERM { Signal::Terminate } else { Signal::Interrupt });
        }
    };
    let thread = std::thread::Builder::new().name("pleach-signals".into()).spawn(listen);
    thread.map(drop).map_err(|error| error.to_string())
}

#[cfg(not(unix))]
fn hear(mut tell: impl FnMut(Signal) + Send + 'static) -> Result<(), String> {
    ctrlc::set_handler(move || tell(Signal::Interrupt)).map_err(|error| error.to_string())
}
