"""gpublur inside other frameworks: each module needs the framework of its name, and nothing here loads one."""
