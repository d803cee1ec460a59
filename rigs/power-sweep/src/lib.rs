//! Power-fail sweep of the bootloader over the NOR flash model
