//! The second thread of a followed link: it runs the application's `send`, which may block for as
//! long as it likes. The link's own thread goes on judging meanwhile.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender as Channel, bounded};
use log::warn;

use crate::base::spawn::{self, Thread};
use crate::cause::{Cause, Loss};
use crate::links::handle::Handle;
use crate::protocol::guarded::caught;

use super::intake::{Intake, What};

/// The application's function: writes all of the bytes.
pub(crate) type SendFn = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// One frame to be sent.
pub(super) struct Item {
    pub(super) what: What,
    pub(super) bytes: Vec<u8>,
}

/// What the link's thread holds of it.
pub(super) struct Sender {
    items: Channel<Item>,
    thread: Thread,
}

impl Sender {
    pub(super) fn start(
        handle: Arc<Handle>,
        intake: Arc<Intake>,
        stack: usize,
        send: SendFn,
    ) -> io::Result<Sender> {
        // One at a time: the link hands over the next when this one has come back.
        let (items, queue) = bounded(1);
        let name = format!("keepbeat-{}-send", handle.who.id.0);
        let body = move || {
            handle.enter_sender();
            run(&queue, &intake, send);
        };
        Ok(Sender { items, thread: spawn::spawn(&name, stack, body)? })
    }

    /// Hands over an item; there is room for it, because the sender is free.
    pub(super) fn hand(&self, item: Item) {
        let _ = self.items.try_send(item); // it has ended by an error, which it has told
    }

    /// Tells it to end, and waits until `send` has returned, however long that takes.
    pub(super) fn join(self) {
        drop(self.items);
        let _ = self.thread.join(); // it catches what may panic
    }

    /// Tells it to end, and no more.
    pub(super) fn leave(self) {
        drop(self.items);
    }
}

fn run(queue: &Receiver<Item>, intake: &Intake, mut send: SendFn) {
    for Item { what, bytes } in queue {
        intake.on_sending(what);
        match caught(|| send(&bytes)) {
            Ok(Ok(())) => intake.on_sent(what, bytes),
            Ok(Err(error)) => {
                let loss = Loss::from(error);
                intake.lose(Loss::new(loss.cause, format!("`send`: {}", loss.detail)));
                break;
            }
            Err(text) => {
                intake.lose(Loss::new(Cause::ProtocolPanicked, format!("`send` {text}")));
                break;
            }
        }
    }
    if let Err(text) = caught(|| drop(send)) {
        warn!("while it was dropped, a `send` {text}");
    }
}
