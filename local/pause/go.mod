module nbhd.united/local/pause

go 1.26.0
