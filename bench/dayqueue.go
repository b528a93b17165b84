// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

// queue gives values back in the order of their times, those of one time in the
// order they came. A value stays where it was put; only its time is sorted.
type queue[T any] struct {
	heap   []turn
	values []T
	free   []int32
	order  uint64
}

type turn struct {
	at    int64
	order uint64
	value int32
}

func (t turn) before(u turn) bool { return t.at < u.at || t.at == u.at && t.order < u.order }

func (q *queue[T]) len() int { return len(q.heap) }

// first is the time of the next value.
func (q *queue[T]) first() (at int64, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

func (q *queue[T]) push(at int64, v T) {
	t := turn{at: at, order: q.order}
	q.order++
	if n := len(q.free); n > 0 {
		t.value, q.free = q.free[n-1], q.free[:n-1]
		q.values[t.value] = v
	} else {
		t.value = int32(len(q.values))
		q.values = append(q.values, v)
	}
	q.heap = append(q.heap, t)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !t.before(q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = t
}

func (q *queue[T]) pop() T {
	index := q.heap[0].value
	v := q.values[index]
	clear(q.values[index : index+1])
	q.free = append(q.free, index)

	last := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
	n, i := len(q.heap), 0
	for 2*i+1 < n {
		child := 2*i + 1
		if child+1 < n && q.heap[child+1].before(q.heap[child]) {
			child++
		}
		if !q.heap[child].before(last) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	if n > 0 {
		q.heap[i] = last
	}
	return v
}
