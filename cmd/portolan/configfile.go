// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfigFile bounds what is read of a configuration file, in bytes.
const maxConfigFile = 1 << 20

// readConfigFile reads the settings of a YAML file: a mapping of keys to a
// value or a list of values. Every error names file, line, column and key.
func readConfigFile(path string, values map[string]value) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(data) > maxConfigFile {
		return fmt.Errorf("%s: a configuration of more than %d bytes", path, maxConfigFile)
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return syntaxError(path, data, err)
	}
	if len(tree.Docs) > 1 {
		return fmt.Errorf("%s: it holds %d YAML documents, one is allowed", path, len(tree.Docs))
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil
	}
	return readMapping(path, tree.Docs[0].Body, values)
}

// readMapping takes the settings of the top level.
func readMapping(path string, body ast.Node, values map[string]value) error {
	var entries []*ast.MappingValueNode
	switch n := body.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
		return nil
	default:
		return fmt.Errorf("%s: expected lines of the form key: value", at(path, body))
	}
	var errs []error
	seen := map[string]bool{}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		s := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		switch {
		case s < 0:
			errs = append(errs, fmt.Errorf("%s: unknown key %q; there are %s", at(path, e.Key), key, keys()))
			continue
		case seen[key]:
			errs = append(errs, fmt.Errorf("%s: key %q stands twice", at(path, e.Key), key))
			continue
		}
		seen[key] = true
		text, err := readValue(settings[s], e.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", at(path, e.Value), key, err))
			continue
		}
		values[key] = value{text, at(path, e.Value), exitInput}
	}
	return errors.Join(errs...)
}

// readValue takes the text of a scalar, or of a list of them.
func readValue(s setting, n ast.Node) ([]string, error) {
	if seq, ok := n.(*ast.SequenceNode); ok {
		if !s.list {
			return nil, errors.New("one value is expected, not a list")
		}
		texts := []string{}
		for _, item := range seq.Values {
			text, err := scalar(item)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	text, err := scalar(n)
	return []string{text}, err
}

// scalar is the text of a plain value, as it is written.
func scalar(n ast.Node) (string, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.NullNode:
		return "", errors.New("a value is missing")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		// Not a plain value, though the library counts them as scalars.
	case ast.ScalarNode:
		return v.GetToken().Value, nil
	}
	return "", fmt.Errorf("a plain value is expected, not a %s", strings.ToLower(n.Type().String()))
}

// at names a place in the file.
func at(path string, n ast.Node) string {
	p := n.GetToken().Position
	return fmt.Sprintf("%s:%d:%d", path, p.Line, p.Column)
}

// syntaxError adds the key that the broken line belongs to.
func syntaxError(path string, data []byte, err error) error {
	var broken yaml.Error
	if !errors.As(err, &broken) || broken.GetToken() == nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p := broken.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s%s", path, p.Line, p.Column, keyAt(data, p.Line), broken.GetMessage())
}

// keyAt is the last key that begins on or above a line, with a colon.
func keyAt(data []byte, line int) string {
	lines := strings.Split(string(data), "\n")
	for i := min(line, len(lines)) - 1; i >= 0; i-- {
		if key, _, ok := strings.Cut(lines[i], ":"); ok && key != "" && !strings.ContainsAny(key, " \t#-[]{}\"'") {
			return key + ": "
		}
	}
	return ""
}

// keys names all settings.
func keys() string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.key
	}
	return strings.Join(names, ", ")
}
