package dnscheck

// keyPlace stands for the query key in a list's zone.
const keyPlace = "{key}"
