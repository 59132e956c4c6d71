//! Tests after the examples of XEP-0060 and XEP-0163.
