//! What this machine says of its own side of a connection.

use super::Case;
use crate::diagnose::evidence::Evidence;

/// What this machine says of its own side.
#[derive(Clone, Debug)]
pub(crate) struct OwnSide {
    pub(crate) address_gone: bool,
    pub(crate) no_route: bool,
    pub(crate) interface: Option<(String, bool)>,
}

impl Case {
    pub(super) fn add_own_side(&self, evidence: &mut Evidence, own: Option<OwnSide>) {
        let Some(own) = own else { return };
        evidence.address_gone = Some(own.address_gone);
        evidence.no_route = Some(own.no_route);
        if let Some((name, carrier)) = own.interface {
            (evidence.interface, evidence.carrier) = (Some(name), Some(carrier));
        }
    }
}
