//! The way out of a link: its events to the coordinator's thread and the users' queues, its frames
//! to whoever reads them.

pub(crate) mod feed;
pub(crate) mod frame_queue;
pub(crate) mod queues;
pub(crate) mod readers;
pub(crate) mod received;
