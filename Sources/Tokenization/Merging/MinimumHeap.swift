/// A priority queue: a binary heap with the smallest element first. Its memory is kept when it is emptied.
package struct MinimumHeap<Element: Comparable> {
    @usableFromInline var elements: [Element] = []

    @inlinable package init() {}

    /// Replaces what it holds. O(n).
    @inlinable package mutating func replaceAll(with new: [Element]) {
        elements.removeAll(keepingCapacity: true)
        elements.append(contentsOf: new)
        for parent in stride(from: elements.count / 2 - 1, through: 0, by: -1) { sink(elements[parent], from: parent) }
    }

    @inlinable package mutating func removeAll() { elements.removeAll(keepingCapacity: true) }

    /// Adds an element. O(log n).
    @inlinable package mutating func push(_ element: Element) {
        elements.append(element)
        var child = elements.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard element < elements[parent] else { break }
            elements[child] = elements[parent]
            child = parent
        }
        elements[child] = element
    }

    /// Removes the smallest element. O(log n).
    @inlinable package mutating func pop() -> Element? {
        guard let smallest = elements.first, let last = elements.popLast() else { return nil }
        if !elements.isEmpty { sink(last, from: 0) }
        return smallest
    }

    /// Puts an element where `parent` is or below it, the smaller children moving up.
    @inlinable mutating func sink(_ element: Element, from parent: Int) {
        var parent = parent
        while true {
            var child = 2 * parent + 1
            guard child < elements.count else { break }
            if child + 1 < elements.count, elements[child + 1] < elements[child] { child += 1 }
            guard elements[child] < element else { break }
            elements[parent] = elements[child]
            parent = child
        }
        elements[parent] = element
    }
}

extension MinimumHeap: Sendable where Element: Sendable {}
