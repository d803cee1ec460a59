//! Gateway and MeshOS as Linux processes.
