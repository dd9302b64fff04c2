#pragma once
// Linked to by tests that run passes on the meta device; there is nothing to call.
