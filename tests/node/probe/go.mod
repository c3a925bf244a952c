module nbhd.united/tests/node/probe

go 1.26.0
