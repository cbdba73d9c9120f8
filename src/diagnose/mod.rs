//! Why a link failed. All of it decides, and none of it acts: times and facts come in.
//!
//! ```text
//! link's thread ─ Saw ─▶ Inquiry ─ Act ─▶ link's thread: event, status, side connections
//!      ▲                 │    ▲
//!      └────── Facts ────┘    └ Case ─ Evidence ─▶ decide ─▶ Diagnosis
//! ```
//!
//! The link's thread alone may read the errors of its socket, so it takes the looks that an
//! [`Inquiry`] asks for. Side connections run beside the link and touch nothing of it; what they
//! find is one of the [`Facts`]. [`decide`] sees the evidence alone, so that a recorded trouble can
//! be explained again.

mod advice;
mod belief;
mod case;
mod confidence;
mod decide;
mod diagnosis;
mod evidence;
mod fact;
mod history;
mod inquiry;
pub(crate) mod last_words;
mod recorder;
pub(crate) mod service;
mod settings;
mod story;
mod tls;

pub(crate) use belief::Ledger;
pub(crate) use case::{AT_ONCE, Case, Heard, OwnSide};
pub use confidence::Confidence;
pub use diagnosis::Diagnosis;
pub use evidence::Evidence;
pub(crate) use evidence::{Carried, Fresh, Kept, Stage};
pub use fact::Fact;
pub(crate) use inquiry::{Act, Attempt, Facts, Inquiry, Question, Saw, Suspects};
pub(crate) use last_words::Said;
pub use recorder::{BeatEnd, BeatRecord};
pub(crate) use service::Service;
pub use settings::Diagnose;
#[cfg(feature = "tls")]
pub(crate) use tls::IS_AUTHORITY;
