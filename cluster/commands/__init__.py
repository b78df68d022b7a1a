"""The commands of ``secondlook``, a module a topic. Each only asks, calls and prints."""
