// Package bolt keeps relay grants in a file, so that they outlast a restart of
// milterd on this machine.
//
// All grants are in memory as well, and only there they are looked up: no mail
// waits for the disk. A login waits for it neither. Changes are written
// together, Config.Interval after the first of them, in one transaction that is
// synced, so that a storm of logins costs one sync a second and not one
// each. What a power cut takes are the logins of that last second, and
// their users log in again. A revocation is on disk before it is
// acknowledged: a revoked grant must not come back.
//
// While the file cannot be written (a full disk), grants hold in memory, and the
// writing is tried again.
//
// # The file
//
// It is a bbolt database, mode 0600, which one process has open at a time, in
// a directory that must exist. bbolt never overwrites what the last finished transaction
// refers to, so that a crash at any moment leaves the file as that
// transaction left it. The bucket grants.v1 has one record for each grant:
//
//	key    the address, 16 octets (IPv4 mapped)
//	value  CRC-32C of key and rest (4 octets), first login and end (Unix time in
//	       milliseconds, 8 octets each), length of the source (1), source, user
//
// Numbers are big-endian. bbolt does not check the pages it reads; the checksum is for
// a disk that turns one address into another.
//
// A database that is damaged, by a disk or by whoever cut it short, is renamed to
// NAME.damaged, in the place of an older one of that name, which is logged as an error;
// then there are no grants until users log in again. What was never a database, or holds
// something else than relay grants, is somebody else's: it is refused, and left as it is.
// So is a file that another process has open, or that may not be read.
//
// The file does not shrink when grants end, but its space is used again.
package bolt
