module obstack.dev/obstack

go 1.26.0
