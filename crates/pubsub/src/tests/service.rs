//! Nodes of a service: owners of their own, by whom they were made.

use super::*;
