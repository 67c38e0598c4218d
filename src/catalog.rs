//! The catalog: the tenants and directories in force, those of the configuration file and those of the store.
