package access

import "strings"

// secretTag begins the keys whose values are passwords: those that sendmail gives
// to another host when it authenticates there.
const secretTag = "authinfo:"

// notShown stands in place of a password.
const notShown = "(not shown)"

// Shown is the value of a key, TAG:KEY or KEY in any case, as a log or a message may
// show it: one that holds a password is left out. Such is any value of the tag
// AuthInfo, and any that is written like one, since a tag may be misspelled.
func Shown(key, value string) string {
	if value != "" && (strings.HasPrefix(Fold(key), secretTag) || holdsPassword(Fold(value))) {
		return notShown
	}
	return value
}

// holdsPassword reports whether a folded value has a password in it as AuthInfo
// entries do: "U:user" "P:password", or "P=" before one in base64.
func holdsPassword(value string) bool {
	return strings.Contains(value, `"p:`) || strings.Contains(value, `"p=`)
}

// shownKey is a key as a message may show it: without what follows the tag AuthInfo
// unless that can only be a host, and without what is written like a password. In
// AuthInfo:host,"P:secret", where the white space is missing, the password is a part
// of the key.
func shownKey(key string) string {
	host, isAuth := strings.CutPrefix(key, secretTag)
	isHost := strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_[]:") == "" && !strings.HasPrefix(host, "p:") && !strings.Contains(host, ":p:")
	switch {
	case isAuth && !isHost:
		return secretTag + notShown
	case holdsPassword(key):
		return notShown
	}
	return key
}
