//! Provisioning plans.
