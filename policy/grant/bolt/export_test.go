package bolt

// For the fuzz test.
var (
	Encode   = encode
	Decode   = decode
	Checksum = checksum
)
