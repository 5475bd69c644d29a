// SPDX-License-Identifier: MIT
#pragma once
using u32 = unsigned int;
#include "third.cuh"