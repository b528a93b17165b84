// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder walks the syntax tree of one file and collects what is wrong with it,
// each with line and column. Nothing is guessed: a key that is not in the schema
// or stands twice, an anchor, an alias or a tag is an error.
type decoder struct {
	file string
	errs []error
}

// maxErrors is how many errors of one file are told.
const maxErrors = 50

func (d *decoder) errorf(n ast.Node, format string, args ...any) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", d.at(n), fmt.Errorf(format, args...)))
	}
}

// at names a place in the file. The token of a mapping in block style is its
// first colon; a reader looks for the key before it.
func (d *decoder) at(n ast.Node) string {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			n = m.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d:%d", d.file, t.Position.Line, t.Position.Column)
	}
	return d.file
}

// parse makes the syntax tree; nil where the file is empty or broken.
func (d *decoder) parse(data []byte) (body ast.Node) {
	// The parser is not ours, and a file that breaks it must not end the daemon.
	defer func() {
		if p := recover(); p != nil {
			body = nil
			d.errs = append(d.errs, fmt.Errorf("%s: this is no YAML: %v", d.file, p))
		}
	}()
	if line := tooDeep(data); line > 0 {
		d.errs = append(d.errs, fmt.Errorf("%s:%d: a line of more than %d bytes, or brackets deeper than %d", d.file, line, maxLine, maxDepth))
		return nil
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		var broken yaml.Error
		if errors.As(err, &broken) && broken.GetToken() != nil {
			p := broken.GetToken().Position
			err = fmt.Errorf("%s:%d:%d: %s", d.file, p.Line, p.Column, broken.GetMessage())
		} else {
			err = fmt.Errorf("%s: %w", d.file, err)
		}
		d.errs = append(d.errs, err)
		return nil
	}
	if len(tree.Docs) > 1 {
		d.errs = append(d.errs, fmt.Errorf("%s: it holds %d YAML documents, one is allowed", d.file, len(tree.Docs)))
		return nil
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil
	}
	return tree.Docs[0].Body
}

// Bounds on the shape of a file. The time that the parser takes grows with the
// square of the depth, and it descends by recursion.
const (
	maxLine  = 4096
	maxDepth = 500
)

// tooDeep finds the line that goes over a bound, 0 if none does. It counts
// brackets wherever they stand, in texts too, and so is only a bound.
func tooDeep(data []byte) int {
	line, column, depth := 1, 0, 0
	for _, c := range data {
		column++
		switch c {
		case '\n':
			line, column = line+1, 0
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if column > maxLine || depth > maxDepth {
			return line
		}
	}
	return 0
}

// fields are the keys that a mapping may have, with what reads each.
type fields map[string]func(ast.Node)

// mapping reads a mapping and returns the keys that it has.
func (d *decoder) mapping(n ast.Node, f fields) map[string]bool {
	seen := map[string]bool{}
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		d.errorf(n, "lines of the form key: value are expected here")
		return seen
	}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		read, ok := f[key]
		switch {
		case !ok:
			d.errorf(e.Key, "unknown key %.40q; there are %s", key, f.names())
		case seen[key]:
			d.errorf(e.Key, "key %q stands twice", key)
		default:
			seen[key] = true
			read(e.Value)
		}
	}
	return seen
}

func (f fields) names() string {
	var names []string
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// list calls read for every item of a list, or for the one value that stands
// in place of a list.
func (d *decoder) list(n ast.Node, read func(ast.Node)) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		read(n)
		return
	}
	if len(seq.Values) == 0 {
		d.errorf(n, "an empty list says nothing; leave the key out")
	}
	for _, item := range seq.Values {
		read(item)
	}
}

// text reads a plain value as it is written.
func (d *decoder) text(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return d.bounded(n, v.Value)
	case *ast.NullNode:
		d.errorf(n, "a value is missing")
		return ""
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		// Not a plain value, though the library counts them as scalars.
	case ast.ScalarNode:
		return d.bounded(n, v.GetToken().Value)
	}
	d.errorf(n, "a plain value is expected, not a %s", strings.ToLower(n.Type().String()))
	return ""
}

func (d *decoder) bounded(n ast.Node, s string) string {
	if len(s) > 2*maxPattern {
		d.errorf(n, "a value of more than %d bytes", 2*maxPattern)
		return ""
	}
	return s
}

// into reads a plain value into s.
func (d *decoder) into(s *string) func(ast.Node) {
	return func(n ast.Node) { *s = d.text(n) }
}

// number reads a whole number from low to high into i.
func (d *decoder) number(i *int, low, high int) func(ast.Node) {
	return func(n ast.Node) {
		text := d.text(n)
		v, err := strconv.Atoi(text)
		if err != nil || v < low || v > high {
			d.errorf(n, "a whole number from %d to %d is expected, not %.40q", low, high, text)
			return
		}
		*i = v
	}
}

func (d *decoder) yes(b *bool) func(ast.Node) {
	return func(n ast.Node) {
		switch text := d.text(n); text {
		case "true", "false":
			*b = text == "true"
		default:
			d.errorf(n, "true or false is expected, not %.40q", text)
		}
	}
}
