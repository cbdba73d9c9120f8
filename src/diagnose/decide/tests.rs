//! Each rule, and the order between them.

use super::*;
