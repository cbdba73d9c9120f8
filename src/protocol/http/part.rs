//! The part that a body must have, found however the body is cut.

use memchr::memmem;

/// How much of a body is remembered to be shown.
const BEGINNING: usize = 80;

/// The part that a body must have, and how far the present body was searched for it.
#[derive(Clone, Default)]
pub(super) struct Part {
    wanted: Vec<u8>,
    found: bool,
    /// The end of what was searched, in which the part may begin.
    tail: Vec<u8>,
    /// The beginning of the body, to be shown where the part is missing.
    beginning: Vec<u8>,
}

impl Part {
    pub(super) fn new(wanted: Vec<u8>) -> Part {
        Part { wanted, ..Part::default() }
    }

    pub(super) fn wanted(&self) -> &[u8] {
        &self.wanted
    }

    /// The next piece of the body.
    pub(super) fn search(&mut self, piece: &[u8]) {
        let room = BEGINNING.saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.found {
            return;
        }
        self.tail.extend_from_slice(piece);
        self.found = memmem::find(&self.tail, &self.wanted).is_some();
        let keep = self.tail.len().min(self.wanted.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
    }

    /// The body is whole: whether it had the part. If so the next one begins.
    pub(super) fn take_found(&mut self) -> bool {
        let found = self.found;
        if found {
            self.forget();
        }
        found
    }

    /// How the body began that did not have it. The next one begins.
    pub(super) fn take_beginning(&mut self) -> Vec<u8> {
        let beginning = std::mem::take(&mut self.beginning);
        self.forget();
        beginning
    }

    pub(super) fn forget(&mut self) {
        self.found = false;
        self.tail.clear();
        self.beginning.clear();
    }
}
