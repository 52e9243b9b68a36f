// Package grants tests relay grants with the real servers that have to do with them: a
// Dovecot whose users log in over POP3 and IMAP, a stock sendmail that relays for
// them because milterd says so, and a Redis that two milterds share. All of it runs
// in the world of package integration/harness.
package grants
