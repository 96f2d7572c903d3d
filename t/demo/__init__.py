"""./build.sh demo: the module at work on a sample bucket of its own."""
