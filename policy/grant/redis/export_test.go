package redis

// Parse is for the fuzz test.
var Parse = parse
