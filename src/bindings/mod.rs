//! The script API: one file per topic. A binding converts, makes one engine call, converts back.
