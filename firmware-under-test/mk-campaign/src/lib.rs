//! MeshOS campaign machine: stages, soak, threshold, pause
#![no_std]
