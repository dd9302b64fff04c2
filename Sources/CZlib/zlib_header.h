// The system's zlib: part of macOS, zlib1g-dev (which Swift itself asks for) on Debian.
#include <zlib.h>
