// SPDX-License-Identifier: Apache-2.0

package store

// Err is why the store has stopped, nil while it works. It wraps ErrFailed.
func (s *Store) Err() error { return s.failure() }

// Describe tells whose binding it is, for log lines: the MAC, empty where it is
// unknown, and the address; both empty where the binding is gone.
func (s *Store) Describe(binding uint32) (mac, ip string) { return s.names(binding) }
