module milterd

go 1.26.8
