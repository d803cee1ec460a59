//! Mesh addresses (section 12.2 of the protocol sheet).

use core::fmt;

/// A 16-bit mesh address; shown as four hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr(pub u16);

impl Addr {
    /// No address: an element that was not provisioned, or "each receiver by unicast" in Distribution Start.
    pub const UNASSIGNED: Addr = Addr(0x0000);
    /// Every node of the network.
    pub const ALL_NODES: Addr = Addr(0xFFFF);

    /// Is this the address of one element (0x0001 to 0x7FFF)?
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        self.0 != 0 && self.0 < 0x8000
    }

    /// Is this a virtual address, the hash of a label (0x8000 to 0xBFFF)?
    #[must_use]
    pub const fn is_virtual(self) -> bool {
        self.0 >= 0x8000 && self.0 < 0xC000
    }

    /// Is this a group address (0xC000 to 0xFFFF, the fixed groups included)?
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0 >= 0xC000
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({:04x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Addr;
    use rstest::rstest;

    #[rstest]
    #[case::unassigned(0x0000, false, false, false)]
    #[case::first_unicast(0x0001, true, false, false)]
    #[case::last_unicast(0x7FFF, true, false, false)]
    #[case::first_virtual(0x8000, false, true, false)]
    #[case::last_virtual(0xBFFF, false, true, false)]
    #[case::first_group(0xC000, false, false, true)]
    #[case::all_nodes(0xFFFF, false, false, true)]
    fn an_address_belongs_to_one_class_only(
        #[case] value: u16,
        #[case] unicast: bool,
        #[case] is_virtual: bool,
        #[case] group: bool,
    ) {
        let addr = Addr(value);
        assert_eq!((addr.is_unicast(), addr.is_virtual(), addr.is_group()), (unicast, is_virtual, group));
    }

    #[rstest]
    fn an_address_is_shown_as_four_digits() {
        assert_eq!(std::format!("{}", Addr(0x0a1)), "00a1");
    }
}
