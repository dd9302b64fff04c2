#pragma once
// PyTorch's wheel has ProcessGroupGloo.hpp and not the headers of Gloo that it includes. These five files declare the
// names that it mentions and nothing more: libtorch makes every Gloo object itself, and this project touches none.
