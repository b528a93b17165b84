// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

//go:embed fingerprints/*.yaml
var dictionary embed.FS

// maxFiles bounds how many files of rules one folder may hold.
const maxFiles = 1000

// BuiltIn is the set of the rules that come with the product.
var BuiltIn = sync.OnceValues(func() (*Set, error) { return LoadFiles() })

// Load reads the built-in rules and the *.yaml and *.yml files of a folder, in
// the order of their names; an empty dir is the built-in rules alone. A rule of
// the folder replaces the built-in one of the same id. The error joins all that
// is wrong, with file, line and column; a set that is in use goes on as it is.
func Load(dir string) (*Set, error) {
	if dir == "" {
		return BuiltIn()
	}
	paths, err := ruleFiles(dir)
	if err != nil {
		return nil, err
	}
	return LoadFiles(paths...)
}

// ruleFiles lists the files of rules in a folder.
func ruleFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the folder of rules: %w", err)
	}
	var paths []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	if len(paths) > maxFiles {
		return nil, fmt.Errorf("%s: %d files of rules, %d are allowed", dir, len(paths), maxFiles)
	}
	return paths, nil
}

// LoadFiles is Load for files and folders that are named one by one.
func LoadFiles(paths ...string) (*Set, error) {
	l := loading{index: map[string]int{}}
	for _, f := range builtInFiles() {
		l.add(f, true)
	}
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if files, err = ruleFiles(path); err != nil {
				l.errs = append(l.errs, err)
			}
		}
		for _, file := range files {
			l.add(decodeFile(file), false)
		}
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return l.set(len(paths) > 0), nil
}

// decoded is what one file came to. Its rules are shared by all sets of which
// the file is a part, so they are only read.
type decoded struct {
	rules []fileRule
	hash  [sha256.Size]byte
	err   error
}

func decode(file string, data []byte) decoded {
	list, err := decodeRules(file, data)
	return decoded{list, sha256.Sum256(data), err}
}

// builtInFiles decodes the built-in files, once: that takes some milliseconds.
var builtInFiles = sync.OnceValue(func() []decoded {
	entries, err := dictionary.ReadDir("fingerprints")
	if err != nil {
		return []decoded{{err: fmt.Errorf("cannot read the built-in rules: %w", err)}}
	}
	var files []decoded
	for _, e := range entries {
		data, err := dictionary.ReadFile("fingerprints/" + e.Name())
		if err != nil {
			return []decoded{{err: fmt.Errorf("cannot read the built-in rules: %w", err)}}
		}
		files = append(files, decode(e.Name(), data))
	}
	return files
})

// decodeFile reads a little more of a file than is allowed at most, which
// decodeRules then refuses.
func decodeFile(path string) decoded {
	f, err := os.Open(path)
	if err != nil {
		return decoded{err: fmt.Errorf("cannot read the rules: %w", err)}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return decoded{err: fmt.Errorf("cannot read the rules: %w", err)}
	}
	return decode(path, data)
}

// loading collects the rules of several files.
type loading struct {
	rules []fileRule
	index map[string]int // id -> place in rules
	hash  []byte
	errs  []error
}

func (l *loading) add(f decoded, builtIn bool) {
	if f.err != nil {
		l.errs = append(l.errs, f.err)
		return
	}
	l.hash = append(l.hash, f.hash[:]...)
	for _, r := range f.rules {
		r.builtIn = builtIn
		i, ok := l.index[r.ID]
		switch {
		case !ok && r.off:
			l.errs = append(l.errs, fmt.Errorf("%s: there is no rule %s to switch off", r.Origin, r.ID))
		case !ok:
			l.index[r.ID] = len(l.rules)
			l.rules = append(l.rules, r)
		case l.rules[i].builtIn && !builtIn:
			l.rules[i] = r
		default:
			l.errs = append(l.errs, fmt.Errorf("%s: the id %s stands already at %s", r.Origin, r.ID, l.rules[i].Origin))
		}
	}
}

func (l *loading) set(extended bool) *Set {
	var list []*Rule
	for _, r := range l.rules {
		if !r.off {
			rule := *r.Rule
			rule.BuiltIn = r.builtIn
			list = append(list, &rule)
		}
	}
	sum := sha256.Sum256(l.hash)
	s := newSet(list, hex.EncodeToString(sum[:8]))
	s.extended = extended
	return s
}
